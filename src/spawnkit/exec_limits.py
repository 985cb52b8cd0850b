"""E2BIG: which of execve(2)'s limits on arguments and environment was exceeded, and by how much.

execve(2), "Limits on size of arguments and environment"; in Linux fs/exec.c, bprm_stack_limits and
valid_arg_len.
"""

from __future__ import annotations

import os
import resource

_PAGE = os.sysconf("SC_PAGESIZE")
_POINTER = 8  # 64-bit machines only
_ONE_STRING = 32 * _PAGE - 1  # without its NUL
_LEAST = 128 << 10
_MOST = 6 << 20  # three quarters of the kernel's default stack


def too_big(program: bytes, argv: list[bytes], env: list[bytes], stack: int | None) -> str:
    """The limit and the excess in words; "" where by this count there is none.

    stack: the child's RLIMIT_STACK, soft; None: ours. Names are shown, never values: those may be
    secret. What a script's #! line adds to its arguments is not counted.
    """
    for i, string in enumerate(argv):
        if len(string) > _ONE_STRING:
            return _one_too_long(f"args[{i}]", len(string))
    for string in env:
        if len(string) > _ONE_STRING:
            name, equals, _ = string.partition(b"=")
            shown = f"env {os.fsdecode(name)!r}" if equals else "env: a string without '='"
            return _one_too_long(shown, len(string))
    pointers = _POINTER * (max(len(argv), 1) + len(env))
    total = pointers + sum(len(s) + 1 for s in (program, *argv, *env))
    limit, what = _limit_of_all(stack, pointers)
    if total <= limit:
        return ""
    return (
        f"arguments and environment take {total} bytes, {total - limit} over the limit of {limit}"
        f" ({what})"
    )


def _one_too_long(item: str, size: int) -> str:
    over = size - _ONE_STRING
    return f"{item} has {size} bytes, {over} over the limit of {_ONE_STRING} for one string"


def _limit_of_all(stack: int | None, pointers: int) -> tuple[int, str]:
    if stack is None:
        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack < 0:  # RLIM_INFINITY, as the resource module has it
        stack = 2**64 - 1
    limit, what = stack // 4, "a quarter of RLIMIT_STACK"
    if limit > _MOST:
        limit, what = _MOST, "the kernel's, whatever RLIMIT_STACK is"
    if limit < _LEAST:
        limit, what = _LEAST, "the least the kernel grants, whatever RLIMIT_STACK is"
    # The strings lie on the new stack, below one word, and whole pages of it must be within the
    # limit; the pointers are not there yet.
    whole = stack // _PAGE * _PAGE - _POINTER + pointers
    return (whole, "all of RLIMIT_STACK") if whole < limit else (limit, what)
