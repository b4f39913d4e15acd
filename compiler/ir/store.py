"""A graph to a file and back, the same bytes for the same graph."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import onnx_ir as ir
from onnx_ir import traversal

from compiler.graph_files import data_file
from compiler.ir.provenance import ORIGINS, Provenance, origins
from compiler.quiet import quiet

# Above this, weights go into a file of their own that can be mapped; protobuf itself ends at 2 GiB.
EXTERNAL_ABOVE = 128 * 2**20
# Tensors smaller than this stay in the graph, where shape inference can see them.
_SMALL_TENSOR = 1024


def save(model: ir.Model, path: Path, *, keep_provenance: bool = True) -> None:
    """Write `path`, and the data file beside it when the weights are large. The model's metadata is shortened."""
    for node in traversal.RecursiveGraphIterator(model.graph):
        _shorten(node, keep=keep_provenance)
    for value in _values(model):
        value.metadata_props.clear()
    external = data_file(path).name if weight_bytes(model) > EXTERNAL_ABOVE else None
    if external is None:
        # Weights that still lie in a file of their own would stay there, out of the new graph's reach.
        ir.external_data.load_to_model(model)
    with quiet():
        ir.save(model, path, external_data=external, size_threshold_bytes=_SMALL_TENSOR)


def weight_bytes(model: ir.Model) -> int:
    """The bytes of all distinct initializers."""
    values = [value for graph in model.graphs() for value in graph.initializers.values()]
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def _values(model: ir.Model) -> list[ir.Value]:
    outputs = [value for node in traversal.RecursiveGraphIterator(model.graph) for value in node.outputs]
    return [*model.graph.inputs, *outputs, *model.graph.initializers.values()]


def _shorten(node: ir.Node, *, keep: bool) -> None:
    """A dozen long strings per node become one: where it came from, with paths that say nothing about this machine."""
    found = origins(node) if keep else ()
    node.metadata_props.clear()
    if found:
        fields = [{k: v for k, v in dataclasses.asdict(_relative(origin)).items() if v} for origin in found]
        node.metadata_props[ORIGINS] = json.dumps(fields, separators=(",", ":"))


def _relative(origin: Provenance) -> Provenance:
    if not origin.path:
        return origin
    path = origin.path.replace("\\", "/")
    for root in sorted([*sys.path, str(Path.cwd())], key=len, reverse=True):
        base = root.replace("\\", "/").rstrip("/") + "/"
        if len(base) > 1 and path.startswith(base):
            return dataclasses.replace(origin, path=path.removeprefix(base))
    return dataclasses.replace(origin, path=path.rsplit("/", 1)[-1])
