"""Whether a program did the same with spawnkit as without it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from programs.program import Program
from programs.runs import PLAIN, Outcome

SHOWN = 20  # lines of each difference


@dataclass
class Verdict:
    """What is wrong, in words; nothing: all the same."""

    wrong: list[str] = field(default_factory=list)
    facts: int = 0  # that were compared

    @property
    def same(self) -> bool:
        return not self.wrong


def judge(program: Program, outcomes: dict[str, Outcome]) -> Verdict:
    """The plain run against each other one."""
    plain = outcomes[PLAIN]
    verdict = Verdict(facts=len(plain.facts))
    expected = [str(step.status) for step in program.steps]
    if plain.statuses != expected:
        verdict.wrong.append(
            f"{PLAIN}: the steps ended with {' '.join(plain.statuses)} where "
            f"{' '.join(expected)} was expected"
        )
    for way, outcome in outcomes.items():
        verdict.wrong += [f"{way}: {text}" for text in outcome.hung + outcome.starts.wrong]
        if way != PLAIN:
            verdict.wrong += [f"{way}: {text}" for text in differences(plain, outcome)]
            if not outcome.starts.said_ours:
                verdict.wrong.append(f"{way}: not one process was started by spawnkit")
    return verdict


def differences(one: Outcome, other: Outcome) -> list[str]:
    """Each fact that differs, with its lines."""
    found = []
    for name in sorted(one.facts.keys() | other.facts.keys()):
        texts = [outcome.facts.get(name) for outcome in (one, other)]
        if texts[0] == texts[1]:
            continue
        if None in texts:
            found.append(f"{name}: only in the {'other' if texts[0] is None else 'plain'} run")
            continue
        first, second = ((text or "").split("\n") for text in texts)
        lines = list(difflib.unified_diff(first, second, n=0, lineterm=""))[2:]
        more = [f"… {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
        found.append("\n    ".join([f"{name}:", *(line[:300] for line in lines[:SHOWN]), *more]))
    return found
