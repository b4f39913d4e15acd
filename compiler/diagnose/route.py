"""The way from the captured graph to the one that a target builds from, walked again as far as one likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compiler.contracts import PassRecord
from compiler.passes import pipeline


@dataclass(frozen=True)
class Change:
    """A pass that changed something, and whose it is."""

    name: str
    ours: bool


@dataclass(frozen=True)
class Route:
    """`start` is never touched. A target's passes are made anew for every walk."""

    start: ir.Model
    steps: Sequence[pipeline.Step]
    target: Callable[[], Sequence[pipeline.Named]]

    def walk(self, stop: int | None = None) -> tuple[ir.Model, list[Change]]:
        """The graph after the first so many changes, or all of them."""
        model = self.start.clone()
        model.meta.update(self.start.meta)
        counter = _Counter(stop)
        try:
            if stop != 0:
                pipeline.run(model, self.steps, watches=[counter])
                counter.ours = False
                pipeline.run_passes(model, self.target(), watches=[counter])
        except _ReachedError:
            pass
        return model, counter.changes


class _ReachedError(Exception):
    """As many changes as were wanted."""


class _Counter:
    def __init__(self, stop: int | None) -> None:
        self.changes: list[Change] = []
        self.ours = True
        self._stop = stop

    def before(self, name: str, model: ir.Model) -> None:
        pass

    def after(self, record: PassRecord, model: ir.Model) -> None:
        if record.modified:
            self.changes.append(Change(record.name, self.ours))
            if len(self.changes) == self._stop:
                raise _ReachedError
