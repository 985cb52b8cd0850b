"""Audit events (PEP 578): whoever watches an interpreter sees each program that it starts."""

from __future__ import annotations

from typing import Any

from support.isolated import Isolate


def _audited(directory: str) -> list[Any]:
    """Name, program and arguments of each event; in a process that keeps the hook."""
    import os
    import sys

    import spawnkit

    seen: list[Any] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith("spawnkit."):
            program, args, *_ = arguments
            seen.append([event, os.fsdecode(program), [os.fsdecode(arg) for arg in args]])

    sys.addaudithook(hook)
    spawnkit.run(["/bin/sh", "-c", "exit 0"])
    spawnkit.run(["true"], dir=directory, capture=True)
    spawnkit.Cmd("/bin/true").run()
    spawnkit.start_process("/bin/true", ["a name"]).wait()
    spawnkit.shell_command("exit 0").run()
    for start in spawnkit.run, spawnkit.execute:
        try:
            start(["/no/such/program"])
        except spawnkit.SpawnError:
            seen.append("failed")
    try:
        spawnkit.run(["/bin/true", "\0"])
    except ValueError:
        seen.append("refused")
    return seen


def test_each_start_raises_an_event(isolate: Isolate, tmp_path: object) -> None:
    """Before the process is made, so also where it then fails; not for what is refused at once."""
    plain, in_directory, cmd, process, shell, *rest = isolate(_audited, str(tmp_path))
    assert plain == ["spawnkit.spawn", "/bin/sh", ["/bin/sh", "-c", "exit 0"]]
    assert in_directory[1].endswith("/true")
    assert in_directory[2] == ["true"]
    assert cmd == ["spawnkit.spawn", "/bin/true", ["/bin/true"]]
    assert process == ["spawnkit.spawn", "/bin/true", ["a name"]]
    assert shell[:2] == ["spawnkit.spawn", "/bin/sh"]
    assert rest == [
        ["spawnkit.spawn", "/no/such/program", ["/no/such/program"]],
        "failed",
        ["spawnkit.execute", "/no/such/program", ["/no/such/program"]],
        "failed",
        "refused",
    ]


def test_a_hook_can_refuse(isolate: Isolate) -> None:
    assert isolate(_refused) == ["not here", []]


def _refused() -> list[Any]:
    import os
    import sys

    import spawnkit
    from support.proc import PROC

    def hook(event: str, arguments: object) -> None:
        if event == "spawnkit.spawn":
            raise PermissionError("not here")

    spawnkit.run(["/bin/true"])
    sys.addaudithook(hook)
    try:
        spawnkit.run(["/bin/true"], capture=True)
    except PermissionError as error:
        with open(PROC / f"self/task/{os.getpid()}/children") as children:
            return [str(error), children.read().split()]
    return ["it has run"]
