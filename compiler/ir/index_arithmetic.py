"""Floats on the way from whole numbers to whole numbers: buckets of positions, indices of a resampled axis.

Such a float is rounded to an integer in the end, and float64 can fall on the other side of the rounding than the
float32 that the graph says. There the graph's own type is the definition, not an approximation of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from compiler.ir.subgraphs import subgraphs_of

# Narrower integers are quantized numbers, not indices.
_WHOLE = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL})


def index_arithmetic(nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """The nodes of a graph that compute such floats, or end them."""
    order = list(nodes)
    derived: set[ir.Value] = set()  # floats that whole numbers and scalar constants alone determine
    candidates = []
    for node in order:
        if not any(subgraphs_of(node)) and all(_is_given(value, derived) for value in node.inputs if value is not None):
            derived.update(value for value in node.outputs if _is_float(value) and not _is_large_constant(value))
            candidates.append(node)
    found: set[ir.Node] = set()
    for node in reversed(candidates):
        if all(_is_whole(value) or _only_for(value, found) for value in node.outputs):
            found.add(node)
    return {node for node in found if any(_is_float(value) for value in (*node.inputs, *node.outputs))}


def _is_given(value: ir.Value, derived: set[ir.Value]) -> bool:
    if _is_whole(value) or value in derived:
        return True
    constant = value.const_value if value.is_initializer() else None
    return constant is not None and constant.size == 1 and not value.is_graph_input()


def _is_large_constant(value: ir.Value) -> bool:
    node = value.producer()
    if node is None or node.op_type != "Constant":
        return False
    constant = ir.convenience.get_const_tensor(value)
    return constant is None or constant.size != 1


def _only_for(value: ir.Value, users: set[ir.Node]) -> bool:
    uses = value.uses()
    return bool(uses) and not value.is_graph_output() and all(use.node in users for use in uses)


def _is_whole(value: ir.Value) -> bool:
    return value.dtype in _WHOLE


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()
