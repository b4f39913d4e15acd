"""What goes into an attention's Softmax: scale * Q K^T plus masks, with the scale in any of its places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from compiler.passes.fusion import hold, operands, scalar
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import made_by, rank
from compiler.passes.sizes import Size

_DEPTH = 8  # nodes between the Softmax and the product; more than anybody writes

# A score that is added to something below this is lost in the rounding: to add is as good as to replace.
ABSORBING = -1e30

SWAPPED = (0, 1, 3, 2)
IDENTITY = (0, 1, 2, 3)


@dataclass(frozen=True)
class Mask:
    """Added to the scores; or, where `fill` is given, the condition under which a score is not replaced by that."""

    value: ir.Value
    fill: ir.Value | None = None


@dataclass(frozen=True)
class Key:
    """A value that becomes the keys when its axes are put in this order."""

    value: ir.Value
    order: tuple[int, ...]
    transpose: ir.Node | None = None  # what turns it, if that is one node

    @property
    def sizes(self) -> tuple[Size | None, ...] | None:
        found = sizes_of(self.value)
        return None if found is None or len(found) != 4 else tuple(found[axis] for axis in self.order)


@dataclass(frozen=True)
class Scores:
    """`masks` in the order in which they come, seen from the Softmax; `nodes` compute the scores and nothing else."""

    query: ir.Value
    key: Key
    scale: float
    masks: tuple[Mask, ...]
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class _Walk:
    """From the Softmax down to the product."""

    scale: float = 1.0
    masks: tuple[Mask, ...] = ()
    nodes: tuple[ir.Node, ...] = ()
    mask_is_scaled: bool = False

    def through(self, node: ir.Node) -> _Walk:
        return replace(self, nodes=(*self.nodes, node))


def scores_of(value: ir.Value) -> Scores | None:
    """None where these are no products of queries and keys, each with four axes."""
    walk = _down(value, _Walk())
    if walk is None:
        return None
    left, right = walk.nodes[-1].inputs
    if left is None or right is None:
        return None
    hold(not walk.mask_is_scaled, "its mask is scaled together with the scores")
    walk, query = _unscaled(walk, left)
    walk, turned = _unscaled(walk, right)
    key = _key(turned)
    if key is None or rank(query) != 4:
        return None
    if key.transpose is not None and _is_alone(turned):
        walk, value = _unscaled(walk.through(key.transpose), key.value)
        key = replace(key, value=value)
    return Scores(query, key, walk.scale, walk.masks, walk.nodes)


def _key(turned: ir.Value) -> Key | None:
    """What the turned keys are when they are not turned."""
    transpose = made_by(turned, "Transpose")
    if transpose is not None:
        order = tuple(transpose.attributes.get_ints("perm", ()))
        source = transpose.inputs[0]
        if source is None or len(order) != 4:
            return None
        return Key(source, tuple(order[axis] for axis in SWAPPED), transpose)
    return _key_of_three_axes(turned)


def _key_of_three_axes(turned: ir.Value) -> Key | None:
    """torch's exporter below opset 23 turns [batch * head, length, element], between two Reshapes."""
    joined = made_by(turned, "Reshape")
    transpose = made_by(joined.inputs[0], "Transpose") if joined is not None else None
    flat = made_by(transpose.inputs[0], "Reshape") if transpose is not None else None
    source = flat.inputs[0] if flat is not None else None
    if joined is None or transpose is None or flat is None or source is None:
        return None
    before, between, after = map(sizes_of, (source, flat.outputs[0], turned))
    if before is None or between is None or after is None or None in before or len(before) != 4:
        return None
    swapped = tuple(transpose.attributes.get_ints("perm", ())) == (0, 2, 1)
    same = between[1:] == before[2:] and after == tuple(before[axis] for axis in SWAPPED)
    return Key(source, IDENTITY) if swapped and same else None


def _down(value: ir.Value, walk: _Walk) -> _Walk | None:
    """The way to the product, if one of the ways down ends there."""
    node = made_by(value, "MatMul", "Add", "Mul", "Div", "Where")
    if node is None or len(walk.nodes) == _DEPTH:
        return None
    walk = walk.through(node)
    if node.op_type == "MatMul":
        return walk
    ways = (_down(below, step) for below, step in _steps(node, walk))
    return next((found for found in ways if found is not None), None)


def _steps(node: ir.Node, walk: _Walk) -> list[tuple[ir.Value, _Walk]]:
    scaled = factor(node)
    if scaled is not None:
        below, number = scaled
        return [(below, replace(walk, scale=walk.scale * number))]
    if node.op_type == "Add":
        return [(one, _masked(walk, Mask(mask))) for one, mask in operands(node)]
    if node.op_type == "Where":
        condition, kept, fill = node.inputs
        if condition is not None and kept is not None and scalar(fill) is not None:
            return [(kept, _masked(walk, Mask(condition, fill)))]
    return []


def _masked(walk: _Walk, mask: Mask) -> _Walk:
    return replace(walk, masks=(*walk.masks, mask), mask_is_scaled=walk.mask_is_scaled or walk.scale != 1)


def factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """x and c of x * c or x / c."""
    if node.op_type == "Mul":
        return next(((x, c) for x, y in operands(node) if (c := scalar(y)) is not None), None)
    if node.op_type == "Div" and node.inputs[0] is not None and (number := scalar(node.inputs[1])):
        return node.inputs[0], 1 / number
    return None


def _unscaled(walk: _Walk, value: ir.Value) -> tuple[_Walk, ir.Value]:
    """A factor that only this product uses moves into the scale."""
    node = made_by(value, "Mul", "Div")
    found = factor(node) if node is not None and _is_alone(value) else None
    if node is None or found is None:
        return walk, value
    below, number = found
    return replace(walk.through(node), scale=walk.scale * number), below


def _is_alone(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()
