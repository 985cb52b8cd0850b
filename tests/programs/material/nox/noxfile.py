"""Sessions: one in this environment, one in its own, one that fails, one that is skipped."""

import nox

nox.options.error_on_missing_interpreters = False


@nox.session(venv_backend="none")
@nox.parametrize("number", [1, 2, 3])
def here(session: nox.Session, number: int) -> None:
    session.run("python", "-c", f"print('number', {number})")
    session.run("sh", "-c", "echo to stderr >&2", external=True)
    print(session.run("echo", "silent", silent=True, external=True))
    session.run("sh", "-c", "exit 3", success_codes=[3], external=True)


@nox.session(venv_backend="venv", reuse_venv=True)
def apart(session: nox.Session) -> None:
    session.run("python", "-c", "import sys; print(sys.prefix != sys.base_prefix)")
    session.run("python", "-m", "pip", "--version", silent=True)


@nox.session(venv_backend="none")
def wrong(session: nox.Session) -> None:
    session.run("sh", "-c", "echo before the end; exit 5", external=True)


@nox.session(venv_backend="none")
def killed(session: nox.Session) -> None:
    session.run("sh", "-c", "kill -TERM $$", external=True)


@nox.session(venv_backend="none")
def missing(session: nox.Session) -> None:
    session.run("no-such-program-anywhere", external=True)


@nox.session(venv_backend="none")
def skipped(session: nox.Session) -> None:
    session.skip("to have one that is skipped")
