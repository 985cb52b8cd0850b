"""Tasks: outputs hidden and shown, failures, a prompt answered, a timeout, a terminal."""

from invoke import Context, Responder, UnexpectedExit, task


@task
def build(c: Context) -> None:
    for number in range(10):
        c.run(f"echo building {number}")
    hidden = c.run("echo hidden; echo errors >&2", hide=True)
    print(repr(hidden.stdout), repr(hidden.stderr), hidden.exited)


@task(pre=[build])
def check(c: Context) -> None:
    wrong = c.run("exit 3", warn=True)
    print(wrong.exited, wrong.ok)
    try:
        c.run("echo said before; exit 4", hide="out")
    except UnexpectedExit as error:
        print(error)
    with c.cd("/"), c.prefix("export NAME=value"):
        c.run('echo "$PWD $NAME"')
    c.run("echo $OTHER", env={"OTHER": "other"})
    answer = Responder(pattern=r"Sure\? ", response="yes\n")
    c.run("printf 'Sure? '; read answer; echo got $answer", watchers=[answer], in_stream=False)
    promise = c.run("echo later", asynchronous=True)
    print(repr(promise.join().stdout))


@task
def slow(c: Context) -> None:
    c.run("exec sleep 100", timeout=1)


@task
def terminal(c: Context) -> None:
    c.run("test -t 1 && echo a terminal", pty=True)


@task
def wrong(c: Context) -> None:
    c.run("echo before the end; exit 6")
