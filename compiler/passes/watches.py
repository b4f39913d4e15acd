"""Looking on while passes run: their graphs as text on disk, or their numbers on the evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from compiler.contracts import Arrays, Dim, PassRecord
from compiler.errors import CompileError, InternalError
from compiler.ir.text import to_text
from compiler.passes.agreement import Judge


class DumpGraphs:
    """The text form of the graph after every pass that changed something: two of them are made for `diff`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def before(self, name: str, model: ir.Model) -> None:
        if self._count == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob("[0-9][0-9][0-9]-*.txt"):
                old.unlink()
            self._write("start", model)

    def after(self, record: PassRecord, model: ir.Model) -> None:
        if record.modified:
            self._write(record.name, model)

    def _write(self, name: str, model: ir.Model) -> None:
        path = self._folder / f"{self._count:03}-{name}.txt"
        path.write_text(to_text(model, with_provenance=True), encoding="utf-8")
        self._count += 1


class CheckNumbers:
    """After every pass that changed something, the graph must still compute what it did before the first."""

    def __init__(self, draws: Mapping[str, Arrays]) -> None:
        self._labels = list(draws)
        self._draws = list(draws.values())
        self._judge: Judge | None = None

    def before(self, name: str, model: ir.Model) -> None:
        if self._judge is None:
            self._judge = Judge(model, self._draws)

    def after(self, record: PassRecord, model: ir.Model) -> None:
        if not record.modified or self._judge is None:
            return
        try:
            found = self._judge.difference(model)
        except CompileError as error:
            if error.code == "unsupported-op":
                return  # a target's own operators are nothing that the evaluator knows
            raise
        if found is not None:
            place, words = found
            raise InternalError(
                "pass-broke-numbers",
                f"the pass {record.name} changed what the model computes",
                why=f"at {self._labels[place]}, {words}",
                hint=f"--passes default,-{record.name}",
            )


def two_sizes(dims: Mapping[str, Dim]) -> list[dict[str, int]]:
    """Two choices of sizes, with each dim at two of its values; one choice where nothing is dynamic."""
    low = {name: dim.lo for name, dim in dims.items()}
    high = {name: min(dim.hi, dim.lo + (place + 1) * dim.step) for place, (name, dim) in enumerate(dims.items())}
    return [low, high] if high != low else [low]
