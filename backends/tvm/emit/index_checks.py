"""Which inputs of the model are indices, and within which range.

A kernel holds an index that is out of range at the edge, so that no foreign memory is read; but the answer would be
somebody else's row. Where the index comes straight from an input, the session looks at the input beforehand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

# What hands indices on as they are; only where each element is one of the input's.
_HANDED_ON = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class IndexRange:
    """The input's elements must be in -size .. size - 1; `size` may be the name of a dim."""

    input: str
    size: int | str


def index_ranges(graph: ir.Graph, dims: Collection[str]) -> tuple[IndexRange, ...]:
    """`dims` are the names whose sizes an input tells."""
    inputs = {value for value in graph.inputs if not value.is_initializer()}
    found: dict[IndexRange, None] = {}
    for node in graph:
        if node.op_type not in ("Gather", "GatherElements") or node.domain:
            continue
        data, indices = node.inputs[0], node.inputs[1]
        source = _source(indices)
        size = _axis_length(node, data)
        if source is not None and source in inputs and (isinstance(size, int) or size in dims):
            assert size is not None
            found[IndexRange(source.name or "", size)] = None
    return tuple(found)


def _source(value: ir.Value | None) -> ir.Value | None:
    while value is not None:
        node = value.producer()
        if node is None or node.op_type not in _HANDED_ON:
            return value
        value = node.inputs[0]
    return None


def _axis_length(node: ir.Node, data: ir.Value | None) -> int | str | None:
    if data is None or data.shape is None:
        return None
    length = data.shape[node.attributes.get_int("axis", 0)]
    return length if isinstance(length, int) else length.value
