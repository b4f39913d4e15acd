"""One check: what need not be compiled again is taken from the cache, the rest is compiled, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.check import cells, crew
from compiler.check.cells import Measured
from compiler.check.kept import Kept
from compiler.check.manifest import Entry
from compiler.check.worker import Task
from compiler.contracts import Probe, Ready, Unavailable
from compiler.errors import UnavailableError


@dataclass(frozen=True)
class Plan:
    """How to go about it."""

    output: Path
    kept: Kept | None  # None with --no-cache
    jobs: int = 1
    keep: bool = False
    timeout: float = 1800
    memory_limit: int | None = None


Done = tuple[Entry, str, Measured]


def run(entries: Sequence[Entry], probe: Callable[[str], Probe], plan: Plan) -> Iterator[Done]:
    """Every cell, in the order in which they are done. A target that is not available here is told first."""
    states = {target: probe(target) for target in dict.fromkeys(_targets(entries))}
    tasks = []
    for entry in entries:
        left = []
        for target in entry.targets:
            found = _known(entry, target, states[target], plan)
            if found is None:
                left.append(target)
            else:
                yield entry, target, found
        if left:
            tasks.append(Task(entry, tuple(left), plan.output, plan.keep, plan.timeout, plan.memory_limit))
    yield from _compiled(tasks, states, plan)


def _targets(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from entry.targets


def _known(entry: Entry, target: str, state: Probe, plan: Plan) -> Measured | None:
    if isinstance(state, Unavailable):
        return cells.failed(
            UnavailableError(
                "target-unavailable", f"{target} is not available", why=state.reason, hint=state.remedy or None
            )
        )
    return plan.kept.find(entry, target, state) if plan.kept is not None else None


def _compiled(tasks: Sequence[Task], states: Mapping[str, Probe], plan: Plan) -> Iterator[Done]:
    for task, report in crew.run(tasks, plan.jobs):
        for target, measured in report.measured.items():
            state = states[target]
            if plan.kept is not None and isinstance(state, Ready):
                plan.kept.keep(task.entry, target, state, measured, report.files)
            yield task.entry, target, measured
