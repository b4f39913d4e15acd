"""The probes as they lie in a bundle: in full, as far as they are small enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compiler.cases import Edge
from compiler.contracts import Arrays, dtype_name
from compiler.validate.plain_arrays import plain, typed

LIMIT = 8 * 2**20  # bytes of arrays that all of them may take

_INDEX, _ARRAYS = "edges.json", "edges.npz"


def write(edges: Sequence[Edge], folder: Path) -> None:
    arrays: dict[str, Any] = {}
    entries: list[dict[str, Any]] = []
    left, skipped = LIMIT, 0
    for edge in edges:
        parts = _named(edge, len(entries))
        size = sum(array.nbytes for array in parts.values())
        if size > left:
            skipped += 1
            continue
        left -= size
        arrays |= {name: plain(array) for name, array in parts.items()}
        dtypes = {name: dtype_name(array.dtype) for name, array in parts.items()}
        entries.append({"name": edge.name, "raised": edge.raised, "dtypes": dtypes})
    np.savez(folder / _ARRAYS, **arrays)
    (folder / _INDEX).write_text(json.dumps({"kept": entries, "skipped": skipped}, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[tuple[Edge, ...], tuple[str, ...]]:
    """The probes, and what there is to be said about them."""
    if not (folder / _INDEX).is_file():
        return (), ("this bundle keeps no probes: edge behaviour is not looked at again",)
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    edges = []
    with np.load(folder / _ARRAYS, allow_pickle=False) as data:
        for number, entry in enumerate(index["kept"]):
            arrays = {name: typed(data[name], dtype) for name, dtype in entry["dtypes"].items()}
            inputs, outputs = (_part(arrays, number, part) for part in _PARTS)
            edges.append(Edge(entry["name"], inputs, outputs, entry["raised"]))
    skipped = index["skipped"]
    notes = (f"not repeated, because a bundle has no room for them: {skipped} of the probes",) if skipped else ()
    return tuple(edges), notes


_PARTS = ("input", "output")


def _named(edge: Edge, number: int) -> Arrays:
    both = zip(_PARTS, (edge.inputs, edge.outputs), strict=True)
    return {f"{number}/{part}/{name}": array for part, arrays in both for name, array in arrays.items()}


def _part(arrays: Arrays, number: int, part: str) -> Arrays:
    prefix = f"{number}/{part}/"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
