"""A leash for programs that do not end by themselves: tests/children/zoo.c."""

from __future__ import annotations

import os
import select

# Tells "ends" from "hangs": what is waited for takes milliseconds.
HANGS_AFTER = 60.0


class Leash:
    """Descriptor 3 of programs of the zoo: who has it is alive, and ends when we close ours."""

    def __init__(self) -> None:
        self._ends, self.theirs = os.pipe()

    def __enter__(self) -> Leash:
        return self

    def __exit__(self, *exception: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """They are free to end now."""
        self.given()
        if self._ends >= 0:
            os.close(self._ends)
            self._ends = -1

    def given(self) -> None:
        """Nobody but the programs has it now."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def all_gone(self, within: float = HANGS_AFTER) -> bool:
        """Whether nobody of them is left."""
        self.given()
        return bool(select.select([self._ends], [], [], within)[0])
