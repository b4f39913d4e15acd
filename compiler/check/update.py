"""What `--update` writes: every cell that is acceptable, and of those only what is not mere noise."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.check.cells import Cell, Figures
from compiler.check.judge import Judged, acceptable
from compiler.check.lock import Locked


def updated(locked: Locked, judged: Iterable[Judged]) -> dict[Cell, Figures]:
    """A cell that is as it was keeps the numbers it has: two runs never give the same last digits."""
    new = dict(locked)
    for one in judged:
        if one.measured is None:
            del new[one.cell]
        elif one.measured.figures is not None and acceptable(one) and _differs(one, one.measured.figures):
            new[one.cell] = one.measured.figures
    return new


def _differs(judged: Judged, now: Figures) -> bool:
    before = judged.locked
    if before is None:
        return True
    if before.ran and not now.ran:
        return False  # numbers of a graph never replace those of an artifact that ran
    if any(finding.kind != "built-not-run" for finding in judged.findings):
        return True
    return (now.versions, now.fusions) != (before.versions, before.fusions)


def described(before: Locked, after: Locked) -> str:
    """In words, for whoever is about to review it."""
    parts = {
        "new": len(after.keys() - before.keys()),
        "changed": sum(after[cell] != before[cell] for cell in after.keys() & before.keys()),
        "gone": len(before.keys() - after.keys()),
    }
    return ", ".join(f"{count} {word}" for word, count in parts.items() if count) or "nothing new"
