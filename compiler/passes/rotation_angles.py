"""The cosines or sines of a rotation by halves, without their second half, which is the first one again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import scalar
from compiler.passes.rewriting import Edit, constant, is_constant, made_by, rank

_DEPTH = 6
_UNARY = {"Cos", "Sin", "Cast", "Neg"}

Build = Callable[[Edit, ir.Node], ir.Value]


def first_half(value: ir.Value | None, depth: int = _DEPTH) -> Build | None:
    """How to compute the first half of the last axis; None where the two halves are not known to be equal."""
    if value is None or not depth:
        return None
    if is_constant(value):
        return _of_constant(value)
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "Concat":
        return _of_concat(node)
    if node.op_type == "Gather":
        return _of_table(node)
    if node.op_type in _UNARY:
        return _of_elementwise(node, 0, depth)
    if node.op_type in ("Mul", "Add", "Div"):
        places = [place for place in (0, 1) if scalar(node.inputs[1 - place]) is not None]
        return _of_elementwise(node, places[0], depth) if places else None
    return None


def _of_concat(node: ir.Node) -> Build | None:
    dims = rank(node.outputs[0])
    last = node.attributes.get_int("axis", 0) in (-1, dims - 1 if dims is not None else -1)
    half = node.inputs[0]
    if not last or len(node.inputs) != 2 or half is None or node.inputs[1] is not half:
        return None
    return lambda edit, place: half


def _of_constant(value: ir.Value) -> Build | None:
    array = constant(value)
    if array is None or not array.ndim or array.shape[-1] % 2:
        return None
    first, second = np.split(array, 2, axis=-1)
    if not np.array_equal(first, second):
        return None
    return lambda edit, place: edit.constant(np.ascontiguousarray(first), value)


def _of_table(node: ir.Node) -> Build | None:
    """Rows of a table, by position."""
    rows = node.inputs[1]
    table = first_half(node.inputs[0], 1) if node.attributes.get_int("axis", 0) == 0 else None
    if table is None or rank(node.inputs[0]) != 2:
        return None

    def build(edit: Edit, place: ir.Node) -> ir.Value:
        return edit.insert(place, "Gather", [table(edit, place), rows], dtype=node.outputs[0].dtype, origins=[node])

    return build


def _of_elementwise(node: ir.Node, place_of_x: int, depth: int) -> Build | None:
    below = first_half(node.inputs[place_of_x], depth - 1)
    if below is None:
        return None

    def build(edit: Edit, place: ir.Node) -> ir.Value:
        inputs = list(node.inputs)
        inputs[place_of_x] = below(edit, place)
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        return edit.insert(place, node.op_type, inputs, attributes, dtype=node.outputs[0].dtype, origins=[node])

    return build


def without_head_axis(value: ir.Value | None) -> ir.Value | None:
    """[batch, length, element] of [batch, 1, length, element]."""
    spread = made_by(value, "Unsqueeze", "Reshape")
    source = spread.inputs[0] if spread is not None else None
    return source if rank(source) == 3 else None
