"""The reference cases as they lie in a bundle: in full while they are small, thinned out when they are not.

Inputs that were drawn can be drawn again, so a large case keeps a hash of them and a sample of the answers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from compiler.cases import Branch, Case, Decision, Edge, Scores
from compiler.contracts import Array, Arrays, dtype_name
from compiler.errors import CompileError
from compiler.unit import Unit
from compiler.validate import stored_edges
from compiler.validate.contract import clauses_for
from compiler.validate.plain_arrays import plain, typed
from compiler.validate.units import Units, units
from compiler.verdicts import NO_TERMS, Terms

LIMIT = 16 * 2**20  # bytes of arrays that a bundle keeps in full
SAMPLE = 4096  # elements of an output that a thinned case keeps
ROWS = 2**20  # elements, in whole rows, of one that a contract speaks of

Kept = Literal["elements", "rows", "all"]

_INDEX = "cases.json"
_UNITS = "units.json"
_SCORES = ("row", "starts", "index", "values")  # the arrays of what an index was chosen from

Redraw = Callable[[Mapping[str, int], int, str], Arrays]  # at these sizes, this draw, of this kind


@dataclass(frozen=True)
class StoredCase:
    """A case read back. Of a thinned one, only the elements at `positions` are known."""

    case: Case
    shapes: Mapping[str, tuple[int, ...]]
    positions: Mapping[str, npt.NDArray[np.int64]]

    def thin(self, answer: Arrays) -> dict[str, Array]:
        """An answer reduced to what this case knows about; a wrong shape stays wrong."""
        return {
            name: array.reshape(-1)[self.positions[name]]
            if name in self.positions and array.shape == self.shapes[name]
            else array
            for name, array in answer.items()
        }


@dataclass(frozen=True)
class StoredReference:
    cases: tuple[StoredCase, ...]
    units: Units
    edges: tuple[Edge, ...] = ()
    notes: tuple[str, ...] = ()


def write(cases: Sequence[Case], folder: Path, terms: Terms = NO_TERMS, edges: Sequence[Edge] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    left = LIMIT
    index = []
    for number, case in enumerate(cases):
        size = sum(array.nbytes for part in (case.inputs, case.outputs, case.oracle) for array in part.values())
        kept = {} if size <= left else {name: _kept(terms, name, array) for name, array in case.outputs.items()}
        left -= 0 if kept else size
        index.append(_write_one(case, folder / f"case-{number}.npz", number, kept))
    _write_json(folder / _INDEX, index)
    measured = {kind: {name: asdict(unit) for name, unit in found.items()} for kind, found in units(cases).items()}
    _write_json(folder / _UNITS, measured)
    stored_edges.write(edges, folder)


def _kept(terms: Terms, name: str, array: Array) -> Kept:
    """How much of an output a thinned case keeps: a contract must be judged again on what it speaks of."""
    clauses = clauses_for(terms, name, array)
    if any(clause.function is not None for clause in clauses):
        return "all"
    return "rows" if clauses else "elements"


def read_units(folder: Path) -> Units:
    """What all elements told, of which a thinned case keeps a few."""
    measured = json.loads((folder / _UNITS).read_text(encoding="utf-8"))
    return {kind: {name: Unit(**fields) for name, fields in found.items()} for kind, found in measured.items()}


def _write_json(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _write_one(case: Case, file: Path, number: int, kept: Mapping[str, Kept]) -> dict[str, Any]:
    arrays: dict[str, Array] = {}
    if not kept or case.draw is None:
        arrays |= {f"input/{name}": array for name, array in case.inputs.items()}
    for name, array in case.outputs.items():
        chosen = _positions(array.shape, number, kept.get(name, "all"))
        arrays[f"output/{name}"] = array.reshape(-1)[chosen]
        arrays[f"oracle/{name}"] = case.oracle[name].reshape(-1)[chosen]
        for place, branch in enumerate(case.branches):
            arrays[f"{_branch(place)}/output/{name}"] = branch.outputs[name].reshape(-1)[chosen]
            arrays[f"{_branch(place)}/oracle/{name}"] = branch.oracle[name].reshape(-1)[chosen]
        if name in case.scores:
            thin = replace(case.scores[name], row=case.scores[name].row.reshape(-1)[chosen])
            arrays |= {f"scores/{name}/{part}": getattr(thin, part) for part in _SCORES}
    np.savez(file, **{name: plain(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return {
        "name": case.name,
        "sizes": dict(case.sizes),
        "draw": case.draw,
        "kind": case.kind,
        "file": file.name,
        "kept": dict(kept),
        "input_sha256": _hash(case.inputs),
        "shapes": {name: list(array.shape) for name, array in case.outputs.items()},
        "scores": {name: _of_scores(scores) for name, scores in case.scores.items()},
        "dtypes": {name: dtype_name(array.dtype) for name, array in arrays.items()},
        "close": [asdict(decision) for decision in case.close],
        "unlisted": case.unlisted,
        "branches": [
            {"taken": [asdict(one) for one in branch.taken], "close": [asdict(one) for one in branch.close]}
            for branch in case.branches
        ],
    }


def _branch(place: int) -> str:
    return f"branch {place}"


def _of_scores(scores: Scores) -> dict[str, Any]:
    """What is no array."""
    return {one.name: getattr(scores, one.name) for one in fields(scores) if one.name not in _SCORES}


def _scores(name: str, arrays: Arrays, rest: Mapping[str, Any]) -> Scores:
    parts: dict[str, Any] = {part: arrays[f"scores/{name}/{part}"] for part in _SCORES}
    return Scores(**parts, **rest)


def read_reference(folder: Path, redraw: Redraw, notes: Sequence[str] = ()) -> StoredReference:
    """All that a bundle keeps."""
    try:
        edges, about = stored_edges.read(folder)
        return StoredReference(tuple(read(folder, redraw)), read_units(folder), edges, (*notes, *about))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise CompileError(
            "broken-bundle",
            f"the reference in '{folder}' cannot be read",
            why=f"another version of plumbline wrote it in another way ({type(error).__name__}: {error})",
            hint="compile the model again with this version",
        ) from error


def read(folder: Path, redraw: Redraw) -> list[StoredCase]:
    entries = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return [_read_one(folder, entry, number, redraw) for number, entry in enumerate(entries)]


def _read_one(folder: Path, entry: Mapping[str, Any], number: int, redraw: Redraw) -> StoredCase:
    with np.load(folder / entry["file"], allow_pickle=False) as data:
        arrays = {name: typed(data[name], dtype) for name, dtype in entry["dtypes"].items()}
    parts = {part: _part(arrays, part) for part in ("input", "output", "oracle")}
    drawn = entry["draw"] is not None
    inputs: Arrays = parts["input"] or (redraw(entry["sizes"], entry["draw"], entry["kind"]) if drawn else {})
    if _hash(inputs) != entry["input_sha256"]:
        raise CompileError(
            "reference-lost",
            f"the inputs of the case '{entry['name']}' cannot be drawn again",
            why="another version of numpy or plumbline draws other numbers from the same seed",
            hint="compile the model again, or verify with the versions that the manifest names",
        )
    shapes = {name: tuple(shape) for name, shape in entry["shapes"].items()}
    positions = {name: _positions(shapes[name], number, kept) for name, kept in entry["kept"].items()}
    outputs, oracle = parts["output"], parts["oracle"]
    scores = {name: _scores(name, arrays, rest) for name, rest in entry["scores"].items()}
    case = Case(entry["name"], entry["sizes"], inputs, outputs, oracle, entry["draw"], entry["kind"], scores=scores)
    # Bundles of earlier versions say nothing about decisions.
    branches = tuple(
        Branch(
            _decisions(one["taken"]),
            _part(arrays, f"{_branch(place)}/output"),
            _part(arrays, f"{_branch(place)}/oracle"),
            _decisions(one["close"]),
        )
        for place, one in enumerate(entry.get("branches", ()))
    )
    close, unlisted = _decisions(entry.get("close", ())), entry.get("unlisted", 0)
    return StoredCase(replace(case, close=close, unlisted=unlisted, branches=branches), shapes, positions)


def _part(arrays: Arrays, part: str) -> dict[str, Array]:
    prefix = f"{part}/"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _decisions(entries: Iterable[Mapping[str, Any]]) -> tuple[Decision, ...]:
    return tuple(Decision(**{**one, "have": tuple(one["have"]), "other": tuple(one["other"])}) for one in entries)


def _positions(shape: tuple[int, ...], number: int, kept: Kept) -> npt.NDArray[np.int64]:
    """Which elements are kept, in the shape in which they are: of rows all of each, or elements one by one."""
    size = math.prod(shape)
    if kept == "all" or size <= SAMPLE:
        return np.arange(size).reshape(shape)
    rng = np.random.default_rng(number)
    if kept == "elements":
        return np.sort(rng.choice(size, SAMPLE, replace=False))
    width = shape[-1]
    rows = np.sort(rng.choice(size // width, min(size // width, max(1, ROWS // width)), replace=False))
    return np.asarray(rows[:, None] * width + np.arange(width))


def _hash(inputs: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(inputs):
        digest.update(f"{name}:{dtype_name(inputs[name].dtype)}:{inputs[name].shape}".encode())
        digest.update(np.ascontiguousarray(inputs[name]).tobytes())
    return digest.hexdigest()
