"""Compares what became of each test with the standard module and with ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from conformance.private import Entry
from conformance.runs import Record, Run

PASSES = ("passed", "expected failure")
NOT_RUN = Record("", "not run")


@dataclass(frozen=True)
class Difference:
    """One test that ended otherwise than it should have."""

    test: str
    plain: Record
    ours: Record
    what: str


@dataclass
class Verdict:
    """One suite on one interpreter."""

    version: str
    tests: int = 0
    same: int = 0
    excepted: list[str] = field(default_factory=list)
    failed: list[Difference] = field(default_factory=list)
    plain_does_not_pass: list[Difference] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.failed and not self.broken


def judge(version: str, plain: Run, ours: Run, entries: Iterable[Entry]) -> Verdict:
    """One suite. Nothing that the plain module passes may end otherwise with ours."""
    excepted = {entry.test for entry in entries if version in entry.versions}
    verdict = Verdict(version)
    verdict.broken += [f"with the standard module: {text}" for text in plain.broken]
    verdict.broken += ours.broken
    if plain.skipped != ours.skipped:
        verdict.broken.append(
            f"the module skips itself: {ours.skipped or 'no'} (the standard one: "
            f"{plain.skipped or 'no'})"
        )
    for test in dict.fromkeys([*plain.chosen, *plain.records, *ours.chosen, *ours.records]):
        before, after = plain.records.get(test, NOT_RUN), ours.records.get(test, NOT_RUN)
        difference = Difference(test, before, after, compare(before, after))
        verdict.tests += 1
        if verdict.broken and NOT_RUN in (before, after):
            continue  # that is why
        if not difference.what:
            verdict.same += 1
        elif test in excepted and before.outcome in PASSES:
            verdict.excepted.append(test)
        else:
            verdict.failed.append(difference)
        if before.outcome not in PASSES:
            verdict.plain_does_not_pass.append(difference)
    return verdict


def compare(plain: Record, ours: Record) -> str:
    """Empty where ours is as good; else the two in a few words."""
    if plain.outcome == ours.outcome:
        # A loop with subTest that ends early passes, too.
        if ours.outcome == "passed" and plain.subtests != ours.subtests:
            return f"{ours.subtests} subtests, {plain.subtests} with the standard module"
        return ""
    if ours.outcome == "passed" and plain.outcome not in PASSES:
        return ""
    return f"{ours.outcome}, {plain.outcome} with the standard module"


def useless(entries: Sequence[Entry], runs: Sequence[tuple[str, str, Run, Run]]) -> list[str]:
    """Entries that nothing needs, where their suite has run: one line each.

    `runs` are version, module, plain and ours. A later release of a version may have renamed a
    test: it is enough that one of the interpreters has it.
    """
    wrong = []
    for entry in entries:
        module = entry.test.rsplit(".", 2)[0]
        ran = [
            (version, plain, ours)
            for version, of, plain, ours in runs
            if of == module and version in entry.versions
        ]
        if ran and not any(entry.test in plain.there for _, plain, _ in ran):
            wrong.append(f"{entry.test}: there is no such test")
        for version in entry.versions:
            pairs = [
                (plain.records.get(entry.test, NOT_RUN), ours.records.get(entry.test, NOT_RUN))
                for run_on, plain, ours in ran
                if run_on == version and entry.test in plain.chosen
            ]
            if pairs and not any(plain.outcome in PASSES for plain, _ in pairs):
                wrong.append(
                    f"{entry.test}: {version}: the standard module does not pass it either"
                )
            elif pairs and not any(compare(plain, ours) for plain, ours in pairs):
                wrong.append(f"{entry.test}: {version}: it passes: take it out")
    return wrong
