"""[-x1, x0, -x3, x2, ...] of [x0, x1, x2, x3, ...]: how neighbours are turned, in whatever way that is written."""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import input_of, ints, is_op, made_by, rank, small_ints
from compiler.passes.sizes import Size

_TWO = Size.of(2)

Part = tuple[int, tuple[ir.Node, ...]]  # 0 for the first of each pair, 1 for the second; the nodes that take them out


def turned_pairs(rotated: ir.Value, x: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes between the two; none where it is something else."""
    flat = made_by(rotated, "Reshape", "Flatten")
    joined = made_by(flat.inputs[0], "Concat") if flat is not None else None
    if flat is None or joined is None or len(joined.inputs) != 2 or not _is_last(joined, joined.outputs[0]):
        return ()
    if not _are_pairs(joined.outputs[0], x) or sizes_of(rotated) != sizes_of(x):
        return ()
    second, negation = _without_sign(joined.inputs[0])
    parts = _part(second, x), _part(joined.inputs[1], x)
    if not negation or parts[0] is None or parts[1] is None or (parts[0][0], parts[1][0]) != (1, 0):
        return ()
    return flat, joined, *dict.fromkeys((*negation, *parts[0][1], *parts[1][1]))


def _are_pairs(value: ir.Value, x: ir.Value) -> bool:
    """Whether a value has the elements of x with an axis of its own for each pair."""
    whole, apart = sizes_of(x), sizes_of(value)
    if whole is None or apart is None or None in whole or len(apart) != len(whole) + 1 or apart[-1] != _TWO:
        return False
    return apart[:-2] == whole[:-1] and apart[-2] is not None and apart[-2] * _TWO == whole[-1]


def _without_sign(value: ir.Value | None) -> tuple[ir.Value | None, tuple[ir.Node, ...]]:
    """What is negated, before or after it got an axis for its pair, and the nodes from there on without that axis."""
    negated = made_by(value, "Neg")
    if negated is not None:
        return negated.inputs[0], (negated,)
    spread = made_by(value, "Unsqueeze", "Reshape")
    negated = made_by(spread.inputs[0], "Neg") if spread is not None and _is_spread(spread) else None
    return (negated.inputs[0], (spread, negated)) if spread is not None and negated is not None else (None, ())


def _part(value: ir.Value | None, x: ir.Value) -> Part | None:
    """One of each pair, with an axis for its pair or without."""
    value, nodes = _without_ones(value)
    node = made_by(value, "Slice", "Gather", "Split")
    if value is None or node is None:
        return None
    if node.inputs[0] is x:
        place = _every_other(node, x)
        return None if place is None else (place, (*nodes, node))
    view = made_by(node.inputs[0], "Reshape")
    if view is None or view.inputs[0] is not x or not _are_pairs(view.outputs[0], x):
        return None
    place = _one_of_two(node, value)
    return None if place is None else (place, (*nodes, node, view))


def _without_ones(value: ir.Value | None) -> tuple[ir.Value | None, tuple[ir.Node, ...]]:
    """What it was before it got an axis for its pair, or lost one."""
    nodes: tuple[ir.Node, ...] = ()
    while (node := made_by(value, "Unsqueeze", "Squeeze", "Reshape")) is not None and _is_spread(node):
        value, nodes = node.inputs[0], (*nodes, node)
    return value, nodes


def _is_spread(node: ir.Node) -> bool:
    """x as [..., 1], or that as x."""
    before, after = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    if before is None or after is None or None in before:
        return False
    return after == (*before, Size.of(1)) or before == (*after, Size.of(1))


def _is_last(node: ir.Node, value: ir.Value | None) -> bool:
    return node.attributes.get_int("axis", 0) in (-1, (rank(value) or 0) - 1)


def _every_other(node: ir.Node, x: ir.Value) -> int | None:
    """0 or 1, for x[..., 0::2] or x[..., 1::2]."""
    cut = _cut(node)
    length = (sizes_of(x) or (None,))[-1]
    if cut is None or length is None or length.number is None:
        return None
    taken = range(length.number)[slice(*cut)]
    return taken.start if taken in (range(0, length.number, 2), range(1, length.number, 2)) else None


def _one_of_two(node: ir.Node, value: ir.Value) -> int | None:
    """0 or 1, for what is taken of a last axis of two."""
    if node.op_type == "Split":
        return list(node.outputs).index(value) if len(node.outputs) == 2 and _is_last(node, node.inputs[0]) else None
    if node.op_type == "Gather":
        place = small_ints(input_of(node, 1))
        single = place is not None and len(place) == 1 and -2 <= place[0] < 2 and _is_last(node, node.inputs[0])
        return place[0] % 2 if place is not None and single else None
    cut = _cut(node)
    taken = None if cut is None else range(2)[slice(*cut)]
    return taken[0] if taken is not None and len(taken) == 1 else None


def _cut(node: ir.Node) -> tuple[int, int, int] | None:
    """Start, end and step of a Slice along the last axis."""
    if not is_op(node, "Slice"):
        return None
    starts, ends, axes = (ints(node, name, place) for place, name in enumerate(("starts", "ends", "axes"), start=1))
    steps = [1] if input_of(node, 4) is None else small_ints(input_of(node, 4))
    if not starts or not ends or not steps or axes is None or len(axes) != 1:
        return None
    return (starts[0], ends[0], steps[0]) if axes[0] in (-1, (rank(node.inputs[0]) or 0) - 1) else None
