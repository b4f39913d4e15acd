"""Calibration data: where it comes from, cut to batches that the model takes, and split in two.

Three of four batches are for measuring; what is held back is what the result is judged on. No more than one batch is
in memory at a time, but for what a file holds in one piece.
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from compiler.contracts import Arrays, Dim, TensorSpec
from compiler.errors import UsageError
from compiler.frontend.examples import check_inputs, read_inputs
from compiler.frontend.loaders.factory import load_named
from compiler.frontend.user_code import user_code

WHERE = "--calibration"
HELD_BACK = 4  # one batch of so many
MOST_JUDGED = 8  # batches; PyTorch answers each of them twice
BATCH = 8  # rows, where the batch may be chosen
ENOUGH = 64  # rows, from which on ranges hardly move any more
_SUFFIXES = (".npz", ".safetensors")


@dataclass(frozen=True)
class Batch:
    """A part of a file: the rows from `start` to `stop`, one entry of a stack, or all of it."""

    file: Path
    start: int | None = None
    stop: int | None = None

    def of(self, arrays: Arrays) -> Arrays:
        if self.start is None:
            return arrays
        place = self.start if self.stop is None else slice(self.start, self.stop)
        return {name: np.asarray(array[place]) for name, array in arrays.items()}


@dataclass(frozen=True)
class Batches:
    """To be read as often as needed."""

    parts: Sequence[Batch]

    def __iter__(self) -> Iterator[Arrays]:
        file, arrays = None, {}
        for part in self.parts:
            if part.file != file:
                file, arrays = part.file, read_inputs(part.file)
            yield part.of(arrays)


@dataclass(frozen=True)
class Calibration:
    samples: Batches
    judged: Mapping[str, Arrays]  # held back, under the name of the case
    notes: tuple[str, ...] = ()


def read_calibration(source: Any, specs: Sequence[TensorSpec]) -> Calibration:
    """From a file, a folder of files, "file.py:name", or anything that gives arrays by name when iterated over."""
    parts = [part for file in _files(source) for part in _cut(file, specs)]
    if not parts:
        raise UsageError("bad-inputs", "there is no calibration data", where=WHERE, why=f"'{source}' gives none")
    measured, held = _split(parts)
    judged, seen = {}, _Seen()
    for part, arrays in zip(parts, Batches(parts), strict=True):
        check_inputs(arrays, specs, WHERE)
        if part in held:
            judged[f"calibration data, batch {parts.index(part) + 1}"] = arrays
        if part in measured:
            seen.add(arrays)
    return Calibration(Batches(measured), judged, tuple(seen.doubts(alone=len(parts) == 1)))


def _split(parts: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """To measure on, and to judge on. One batch alone serves as both."""
    if len(parts) < HELD_BACK:
        return list(parts[:-1] or parts), list(parts[-1:])
    held = list(parts[HELD_BACK - 1 :: HELD_BACK])
    return [part for part in parts if part not in held], held[:MOST_JUDGED]


class _Seen:
    """What the samples are like."""

    def __init__(self) -> None:
        self._rows = 0
        self._ends: dict[str, tuple[float, float]] = {}

    def add(self, arrays: Arrays) -> None:
        self._rows += max((len(array) for array in arrays.values() if array.ndim), default=1)
        for name, array in arrays.items():
            if array.dtype.kind == "f" and array.size:
                low, high = self._ends.get(name, (float("inf"), float("-inf")))
                self._ends[name] = min(low, float(array.min())), max(high, float(array.max()))

    def doubts(self, *, alone: bool) -> Iterator[str]:
        if alone:
            yield "the calibration data is one batch: the result is judged on what it was measured on"
        if self._rows < ENOUGH:
            yield f"{self._rows} rows of calibration data are few; from about {ENOUGH} on ranges hardly move any more"
        for name, (low, high) in self._ends.items():
            if low == high:
                yield f"'{name}' is {low:g} throughout the calibration data: its range means nothing"


# -- where it comes from ----------------------------------------------------------------------------------------


def _files(source: Any) -> list[Path]:
    if isinstance(source, (str, Path)) and not _is_named(str(source)):
        path = Path(source)
        if not path.is_dir():
            return [path]
        found = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
        if not found:
            why = f"it holds no file that ends in {' or '.join(_SUFFIXES)}"
            raise UsageError("bad-inputs", f"there is no calibration data in '{path}'", where=WHERE, why=why)
        return found
    return _written(_named(source) if isinstance(source, (str, Path)) else source)


def _is_named(text: str) -> bool:
    return ".py:" in text


def _named(reference: str | Path) -> Any:
    return load_named(str(reference))


def _written(source: Iterable[Arrays] | Callable[[], Iterable[Arrays]]) -> list[Path]:
    """An iterable may give its samples once only, and ranges need them more than once."""
    folder = Path(mkdtemp(prefix="plumbline-calibration-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = []
    with user_code("calibration-raised", "the calibration data raised", "it gives dicts of arrays by name"):
        for number, sample in enumerate(source() if callable(source) else source):
            arrays = {str(name): np.asarray(array) for name, array in sample.items()}
            file = folder / f"{number:06}.npz"
            np.savez(file, **arrays)  # type: ignore[arg-type]
            files.append(file)
    return files


# -- cutting ----------------------------------------------------------------------------------------------------


def _cut(file: Path, specs: Sequence[TensorSpec]) -> Iterator[Batch]:
    arrays = read_inputs(file)
    known = {spec.name: spec for spec in specs if spec.name in arrays}
    ranks = {arrays[name].ndim - len(spec.dims) for name, spec in known.items()}
    counts = {len(arrays[name]) for name in known if arrays[name].ndim}
    if len(known) != len(arrays) or len(counts) != 1:
        yield Batch(file)  # what does not fit is told when it is held against the specs
    elif ranks == {1}:
        yield from (Batch(file, number) for number in range(counts.pop()))
    elif size := _batch_size([spec.dims[0] for spec in known.values() if spec.dims]):
        rows = counts.pop()
        if rows < size[0]:
            yield Batch(file)
        yield from (
            Batch(file, start, min(start + size[1], rows))
            for start in range(0, rows, size[1])
            if rows - start >= size[0]
        )
    else:
        yield Batch(file)


def _batch_size(firsts: Sequence[Any]) -> tuple[int, int] | None:
    """The fewest rows and the most that are taken at once, where all inputs begin with one dim."""
    if not firsts or any(first != firsts[0] for first in firsts):
        return None
    first = firsts[0]
    if isinstance(first, int):
        return first, first
    if not isinstance(first, Dim) or first.step != 1:
        return None
    return max(first.lo, 1), max(first.lo, min(first.hi, BATCH))
