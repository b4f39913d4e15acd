"""What a graph's nodes are, small enough to lie in a bundle: names, modules, and shapes in the named dims.

A runtime's profiler speaks of these names; with the shapes it can be said how much work stands behind each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir import traversal

from compiler.graph_files import NODES_SCHEMA
from compiler.ir.inference import inferred
from compiler.ir.provenance import provenance
from compiler.ir.text import dtype_text

MOST_NODES = 50_000  # about 5 MiB


def write_nodes(model: ir.Model, file: Path, *, modules: bool = True) -> None:
    """Nothing is written of a graph that is too large. `modules` is False where provenance is not wanted."""
    nodes = list(traversal.RecursiveGraphIterator(model.graph))
    if len(nodes) <= MOST_NODES:
        file.write_text(json.dumps(_table(model, nodes, modules=modules), separators=(",", ":")), encoding="utf-8")


def _table(model: ir.Model, nodes: list[ir.Node], *, modules: bool) -> dict[str, Any]:
    names: dict[str, int] = {}
    rows = []
    for node in nodes:
        origin = provenance(node) if modules else None
        module = names.setdefault(origin.module, len(names)) if origin else -1
        row = [node.name, node.op_type, module, _names(node.inputs), _names(node.outputs)]
        equation = node.attributes.get("equation")  # of an Einsum: its shapes alone do not say what is multiplied
        rows.append([*row, equation.value] if equation is not None else row)
    return {
        "schema": NODES_SCHEMA,
        "modules": list(names),
        "nodes": rows,
        "values": {name: [dtype, dims] for name, dtype, dims in _types(model, nodes)},
    }


def _names(values: Any) -> list[str]:
    return [value.name or "" if value is not None else "" for value in values]


def _types(model: ir.Model, nodes: list[ir.Node]) -> Iterator[tuple[str, str, list[int | str]]]:
    """Of every value whose type and rank are known; an unknown size is a question mark."""
    values = dict.fromkeys(value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None)
    found = {value: (value.dtype, value.shape) for value in values}
    if any(dtype is None or shape is None for dtype, shape in found.values()):  # expanding operators leaves some
        for value, kind, shape in inferred(model):
            dtype, known = found.get(value, (None, None))
            found[value] = (dtype or (kind.dtype if kind else None), known if known is not None else shape)
    for value, (dtype, shape) in found.items():
        if value.name and dtype is not None and shape is not None:
            yield value.name, dtype_text(dtype), [_extent(dim) for dim in shape]


def _extent(dim: int | ir.SymbolicDim) -> int | str:
    return dim if isinstance(dim, int) else dim.value or "?"
