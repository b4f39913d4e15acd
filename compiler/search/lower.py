"""Whether lower precision gains anything: what is no better than float32 is no choice, however equal its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compiler.bench.rows import Row
from compiler.measure.paired import ratio
from compiler.search.objective import Objective


def no_gain(rows: Sequence[Row], floats: Sequence[str], objective: Objective) -> dict[str, str]:
    """By name, of everything in lower precision that is no better than the best in float32: the numbers."""
    timed = [row for row in rows if row.latency is not None]
    full = [row for row in timed if row.name in floats]
    if not full:
        return {}
    best = min(full, key=objective.cost)
    return {row.name: why for row in timed if row.name not in floats and (why := _why(row, best, objective))}


def _why(row: Row, best: Row, objective: Objective) -> str:
    if objective.goal == "size":
        return _larger(row.disk, best.disk, f"it is no smaller than {best.name}")
    if objective.goal == "memory":
        return _larger(row.peak, best.peak, f"it takes no less memory than {best.name}")
    if objective.goal == "throughput":
        ours, theirs = (_most(one.rates) for one in (row, best))
        return (
            f"it is no faster than {best.name}: {ours:.3g} calls a second, and {theirs:.3g}" if ours <= theirs else ""
        )
    held = ratio(row.bursts, best.bursts)
    if held.high < 1:
        return ""
    return f"it is no faster than {best.name}: {held.value:.2f} [{held.low:.2f}, {held.high:.2f}] of its time"


def _larger(ours: int | None, theirs: int | None, told: str) -> str:
    mine, other = ours or 0, theirs or 0
    return f"{told}: {mine / 2**20:.1f} MiB, and {other / 2**20:.1f}" if mine >= other else ""


def _most(rates: Mapping[int, float]) -> float:
    return max(rates.values(), default=0.0)
