"""What every kind of report says of a cell, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compiler.check.cells import Figures, Numbers
from compiler.check.judge import Judged
from compiler.report import words

COLUMNS = ("model", "target", "check", "of its budget", "lock", "rms", "lock", "precision", "size", "time")


def row(judged: Judged) -> tuple[str, ...]:
    """One cell in the order of COLUMNS. An output that leaves its budget shows by how much; the worst one speaks."""
    now = judged.measured.figures if judged.measured is not None else None
    figures = now or judged.locked
    return (
        judged.cell.model,
        judged.cell.target,
        status(judged),
        *_pair(now, judged.locked, "used"),
        *_pair(now, judged.locked, "rms"),
        figures.precision if figures is not None else "",
        words.size(now.bytes) if now is not None else "",
        _time(judged),
    )


def status(judged: Judged) -> str:
    """The reason in a word or two, or how it was shown."""
    failing = [finding for finding in judged.findings if finding.fails]
    if failing:
        return failing[0].kind
    measured = judged.measured
    if measured is None or measured.failure is not None or measured.why:
        return "known failure"
    return "passed" if measured.status == "passed" else "built, not run"


def progress(judged: Judged, *, holds: bool) -> str:
    """A line for each cell as soon as it is done."""
    _, _, what, used, *_ = row(judged)
    what += ", accepted" if holds and judged.failed else ""
    return " ".join(filter(None, [mark(holds=holds), f"{judged.cell}:", what, used, f"({_time(judged)})"]))


def mark(*, holds: bool) -> str:
    return "✓" if holds else "✗"


def summary(judged: Sequence[Judged], manifest: Path) -> str:
    bad = sum(one.failed for one in judged)
    again = sum(one.measured is not None and one.measured.cached for one in judged)
    what = f"{len(judged)} of {len(judged)}" if not bad else f"{len(judged) - bad} of {len(judged)}"
    known = f"; {again} not compiled again, because nothing they depend on has changed" if again else ""
    return f"{manifest}: {what} hold{known}"


def _pair(now: Figures | None, before: Figures | None, field: str) -> tuple[str, str]:
    return _worst(now, field), _worst(before, field)


def _worst(figures: Figures | None, field: str) -> str:
    if figures is None or not figures.outputs:
        return ""
    # In lower precision the budget is that of the graph; the model's was given up for a contract.
    value = max(_field(numbers, field) for numbers in (figures.fidelity or figures.outputs).values())
    return words.percent(value) if field == "used" else f"{value:.2g}"


def _field(numbers: Numbers, field: str) -> float:
    return numbers.used if field == "used" else numbers.rms


def _time(judged: Judged) -> str:
    if judged.measured is None:
        return ""
    return "cached" if judged.measured.cached else f"{judged.measured.seconds:.1f} s"
