"""The table for people and the JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from bench.method import WORTHLESS, Comparison
from bench.rows import Group, Row

WIDTH = 132  # what the widest rows need

TITLES: dict[Group, str] = {
    "spawning": "Process creation, as ratios",
    "dropin": "spawnkit.subprocess, as ratios to the standard subprocess (not to C)",
}
NOTE = """\
ratio      the median over neighbouring blocks: time of the subject by time of what it stands
           against, less is better. In the rows threads, executor, gib/ and pipeline-gib it is runs
           per second by runs per second, more is better. ± is how well the median is known (19
           times of 20).
then       medians per process, of this machine in this minute: compare ratios, never these."""
CPU = """\
CPU        the same ratio of user and system time, ours and the child's: less is better."""
NOISY = f"""\
±…[yellow]![/yellow]       more than {WORTHLESS:.0%} of the ratio: a poor figure, which may leave
           the goal open ([yellow]?[/yellow]). It needs an idle machine, or more blocks."""


@dataclass
class Measured:
    row: Row
    runs: int
    comparison: Comparison


def _seconds(values: list[float]) -> str:
    seconds = sorted(values)[len(values) // 2]
    if seconds >= 1:
        return f"{seconds:,.2f} s"
    return f"{seconds * 1e3:,.1f} ms" if seconds >= 0.01 else f"{seconds * 1e6:,.0f} µs"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _verdict(measured: Measured) -> str:
    """The goal, and whether the median reached it; a noisy row may not decide that."""
    row = measured.row
    if row.goal is None:
        return ""
    sign = "≥" if row.throughput else "≤"
    _, middle, _ = measured.comparison.quartiles
    colour, word = ("green", "yes") if row.reached(middle) else ("red", "NO")
    if measured.comparison.worthless and not measured.comparison.decides(row.goal):
        colour, word = "yellow", "?"
    return f"{sign} {row.goal:.2f} [{colour}]{word}[/{colour}]"


def _cpu(measured: Measured) -> str:
    return f"{measured.comparison.cpu_ratio:.2f}" if measured.row.shows_cpu else ""


def tables(results: list[Measured], file: TextIO) -> None:
    """One for each group that was measured, and what their columns mean."""
    # A narrower terminal wraps the lines itself; rich would break every cell.
    console = Console(file=file)
    console.width = max(console.width, WIDTH) if file.isatty() else WIDTH
    for group, title in TITLES.items():
        members = [m for m in results if m.row.group == group]
        if members:
            console.print(_table(title, members))
    console.print(NOTE, highlight=False)
    if any(m.row.shows_cpu for m in results):
        console.print(CPU, highlight=False)
    if any(m.comparison.worthless for m in results):
        console.print(NOISY, highlight=False)


def _table(title: str, results: list[Measured]) -> Table:
    cpu = any(m.row.shows_cpu for m in results)
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    out.add_column("row", no_wrap=True)
    out.add_column("subject", no_wrap=True)
    out.add_column("against", no_wrap=True)
    out.add_column("ratio", justify="right")
    out.add_column("", justify="right")
    out.add_column("quartiles", justify="right", no_wrap=True)
    out.add_column("goal", justify="right", no_wrap=True)
    out.add_column("against", justify="right", style="dim")
    out.add_column("subject", justify="right", style="dim")
    if cpu:
        out.add_column("CPU", justify="right", style="dim")
    previous = ""
    for measured in results:
        row, comparison = measured.row, measured.comparison
        # The drop-in's scenarios have one row each: blank lines would part every one.
        if row.group == "spawning" and previous and previous != row.scenario:
            out.add_row()
        low, middle, high = comparison.quartiles
        bold = row.subject.name == "spawnkit"
        out.add_row(
            row.scenario if previous != row.scenario else "",
            f"[bold]{row.subject.name}[/bold]" if bold else row.subject.name,
            row.baseline.name,
            f"[bold]{_ratio(middle)}[/bold]" if bold else _ratio(middle),
            f"±{comparison.uncertainty:.{2 if middle >= 0.1 else 3}f}"
            + ("[yellow]![/yellow]" if comparison.worthless else " "),
            f"{_ratio(low)} … {_ratio(high)}",
            _verdict(measured),
            _seconds(comparison.baseline),
            _seconds(comparison.subject),
            *([_cpu(measured)] if cpu else []),
        )
        previous = row.scenario
    return out


def write_json(
    results: list[Measured], machine: dict[str, object], left_out: str | None, path: Path
) -> None:
    """Everything that was measured, so that other statistics can be made of it."""
    rows = []
    for m in results:
        low, middle, high = m.comparison.quartiles
        rows.append(
            {
                "name": m.row.name,
                "group": m.row.group,
                "scenario": m.row.scenario,
                "subject": m.row.subject.name,
                "baseline": m.row.baseline.name,
                "figure": "throughput" if m.row.throughput else "time",
                "goal": m.row.goal,
                "reached": m.row.reached(middle),
                "runs_per_block": m.runs,
                "threads": m.row.threads,
                "blocks": len(m.comparison.ratios),
                "median": middle,
                "quartiles": [low, high],
                "uncertainty": m.comparison.uncertainty,
                "worthless": m.comparison.worthless,
                "decided": None if m.row.goal is None else m.comparison.decides(m.row.goal),
                "ratios": m.comparison.ratios,
                "baseline_seconds": m.comparison.baseline,
                "subject_seconds": m.comparison.subject,
            }
        )
        if m.row.shows_cpu:
            rows[-1]["baseline_cpu_seconds"] = m.comparison.baseline_cpu
            rows[-1]["subject_cpu_seconds"] = m.comparison.subject_cpu
    document = {"machine": machine, "spawnkit_left_out": left_out, "rows": rows}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
