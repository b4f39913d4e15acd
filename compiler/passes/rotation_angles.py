"""The cosines or sines of a rotation, each of which stands there twice, once.

Where halves are rotated, the second half of the angles is the first one again; where pairs are, neighbours are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import scalar
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import Edit, constant, is_constant, made_by, rank
from compiler.passes.sizes import Size

_DEPTH = 6
_UNARY = {"Cos", "Sin", "Cast", "Neg"}

Build = Callable[[Edit, ir.Node], ir.Value]


def halved(angles: ir.Value, head_axis: int, *, pairs: bool) -> tuple[Build, ir.Value] | str:
    """How to compute [batch, length, element / 2] of [batch, 1, length, element], and what that is half of.

    Or what they are not known to do. The axis for heads may also stand behind the length.
    """
    at_once = _of_repeated(angles, head_axis) if pairs else None
    if at_once is not None:
        return at_once, angles
    flat = without_head_axis(angles, head_axis)
    if flat is None:
        return "be [batch, 1, length, element]"
    build = _once(flat, pairs, _DEPTH)
    if build is None:
        return f"have equal {'neighbours' if pairs else 'halves'}"
    return build, flat


def _once(value: ir.Value | None, pairs: bool, depth: int) -> Build | None:
    """None where what stands there twice is not known to be equal."""
    if value is None or not depth:
        return None
    if is_constant(value):
        return _of_constant(value, pairs)
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "Concat" and not pairs:
        return _of_concat(node)
    if node.op_type == "Reshape" and pairs:
        return _of_repeated(value)
    if node.op_type == "Gather":
        return _of_table(node, pairs)
    if node.op_type in _UNARY:
        return _of_elementwise(node, 0, pairs, depth)
    if node.op_type in ("Mul", "Add", "Div"):
        places = [place for place in (0, 1) if scalar(node.inputs[1 - place]) is not None]
        return _of_elementwise(node, places[0], pairs, depth) if places else None
    return None


def _of_concat(node: ir.Node) -> Build | None:
    half = node.inputs[0]
    if half is None or not _is_twice_the_same(node):
        return None
    return lambda edit, place: half


def _of_repeated(value: ir.Value, head_axis: int | None = None) -> Build | None:
    """[..., n] seen as [..., n, 1], stretched to [..., n, 2], and seen as [..., 2 n], maybe with an axis for heads."""
    joined = made_by(value, "Reshape")
    stretched = made_by(joined.inputs[0], "Expand", "Tile", "Concat") if joined is not None else None
    spread = made_by(stretched.inputs[0], "Unsqueeze", "Reshape") if stretched is not None else None
    source = spread.inputs[0] if spread is not None else None
    if stretched is None or spread is None or source is None:
        return None
    if stretched.op_type == "Concat" and not _is_twice_the_same(stretched):
        return None
    before, single, double, whole = map(sizes_of, (source, spread.outputs[0], stretched.outputs[0], value))
    if before is None or single is None or double is None or whole is None or None in (*before, *double, *whole):
        return None
    half, two = double[-2] if len(double) > 1 else None, Size.of(2)
    if half is None or single != (*double[:-1], Size.of(1)) or double[-1] != two or whole[-1] != half * two:
        return None
    wanted = tuple(size for axis, size in enumerate((*whole[:-1], half)) if axis != head_axis)
    if _without_ones(single) != _without_ones(wanted) or _without_ones(before) != _without_ones(wanted):
        return None
    if before == wanted:
        return lambda edit, place: source
    if (Size.of(1), *before) != wanted:
        return None

    def build(edit: Edit, place: ir.Node) -> ir.Value:
        first = edit.constant(np.array([0], np.int64), source)
        return edit.insert(place, "Unsqueeze", [source, first], dtype=source.dtype, origins=[spread])

    return build


def _is_twice_the_same(node: ir.Node) -> bool:
    dims = rank(node.outputs[0]) or 0
    last = node.attributes.get_int("axis", 0) in (-1, dims - 1)
    return last and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]


def _without_ones(sizes: Sequence[Size | None]) -> list[Size | None]:
    return [size for size in sizes if size != Size.of(1)]


def _of_constant(value: ir.Value, pairs: bool) -> Build | None:
    array = constant(value)
    if array is None or not array.ndim or array.shape[-1] % 2:
        return None
    first, second = (array[..., ::2], array[..., 1::2]) if pairs else np.split(array, 2, axis=-1)
    if not np.array_equal(first, second):
        return None
    return lambda edit, place: edit.constant(np.ascontiguousarray(first), value)


def _of_table(node: ir.Node, pairs: bool) -> Build | None:
    """Rows of a table, by position."""
    rows = node.inputs[1]
    table = _once(node.inputs[0], pairs, 1) if node.attributes.get_int("axis", 0) == 0 else None
    if table is None or rank(node.inputs[0]) != 2:
        return None

    def build(edit: Edit, place: ir.Node) -> ir.Value:
        return edit.insert(place, "Gather", [table(edit, place), rows], dtype=node.outputs[0].dtype, origins=[node])

    return build


def _of_elementwise(node: ir.Node, place_of_x: int, pairs: bool, depth: int) -> Build | None:
    below = _once(node.inputs[place_of_x], pairs, depth - 1)
    if below is None:
        return None

    def build(edit: Edit, place: ir.Node) -> ir.Value:
        inputs = list(node.inputs)
        inputs[place_of_x] = below(edit, place)
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        return edit.insert(place, node.op_type, inputs, attributes, dtype=node.outputs[0].dtype, origins=[node])

    return build


def without_head_axis(value: ir.Value, head_axis: int) -> ir.Value | None:
    """[batch, length, element] of [batch, 1, length, element], or of [batch, length, 1, element]."""
    spread = made_by(value, "Unsqueeze", "Reshape")
    source = spread.inputs[0] if spread is not None else None
    before, after = sizes_of(source), sizes_of(value)
    if before is None or after is None or None in after or len(after) != 4:
        return None
    rest = (*after[:head_axis], *after[head_axis + 1 :])
    return source if before == rest and after[head_axis] == Size.of(1) else None
