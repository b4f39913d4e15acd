"""x * cos + rotate(x) * sin = RotaryEmbedding(x, cos, sin), where rotate([x1, x2]) = [-x2, x1] for the halves of x.

In the interleaved layout x1 and x2 are neighbours instead. The angles are the same for both, so the operator takes them
once; [x1 * cos - x2 * sin, x2 * cos + x1 * sin], where they stand once already, is the same rotation. Where only the
first elements of each head are rotated, and the rest is joined to them again, that is the operator's
rotary_embedding_dim. Heads may stand before the positions or behind them, where the operator takes them as one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import FLOATS, Fused, Fusion, UnfitError, hold, operands, user_of
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import made_by
from compiler.passes.rotated_halves import joins_two, part, rotated_at_once, turned_halves
from compiler.passes.rotated_pairs import turned_pairs
from compiler.passes.rotation_angles import Build, halved, without_head_axis
from compiler.passes.sizes import Size

_ONE = Size.of(1)


class FuseRotaryEmbedding(Fusion):
    """Anchored on the sum, or on what joins two sums."""

    anchors: ClassVar = frozenset({"Add", "Concat"})
    since: ClassVar = 23

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._angles: dict[tuple[ir.Graph, ir.Value, str], ir.Value] = {}
        return super().call(model)

    def find(self, node: ir.Node) -> Fused | None:
        rotation = _rotation(node)
        if rotation is None:
            return None
        x, turned = rotation.x, rotation.nodes[0].outputs[0]
        hold(x.dtype in FLOATS, f"'{x.name}' is not known to be a float")
        heads = _head_axis(rotation)
        hold(heads == 1 or _numbers(x) is not None, f"how many heads '{x.name}' has is not known")
        cosines, sines = (_half(rotation, angles, heads) for angles in (rotation.cosines, rotation.sines))
        last, nodes = node, rotation.nodes
        attributes: dict[str, Any] = {"interleaved": 1} if rotation.pairs else {}
        whole = _partial(x, turned)
        if whole is not None:
            last, x, attributes["rotary_embedding_dim"] = whole
            nodes = (*nodes, last)

        def inputs() -> Sequence[ir.Value | None]:
            angles = self._built(last, x, *cosines), self._built(last, x, *sines)
            return [x, *angles] if heads == 1 else self._with_one_axis(last, x, angles, attributes)

        if heads == 1:
            return Fused(last, "RotaryEmbedding", inputs, nodes, attributes)
        return Fused(last, "Reshape", inputs, nodes)

    def _with_one_axis(
        self, place: ir.Node, x: ir.Value, angles: tuple[ir.Value, ir.Value], attributes: dict[str, Any]
    ) -> Sequence[ir.Value]:
        """Heads behind the positions: the operator takes them and their elements as one axis."""
        numbers = _numbers(x)
        assert numbers is not None
        heads, elements = numbers
        joined, apart = (
            self.edit.constant(np.array(shape, np.int64), x)
            for shape in ((0, 0, heads * elements), (0, 0, heads, elements))
        )
        flat = self.edit.insert(place, "Reshape", [x, joined], dtype=x.dtype)
        attributes = {**attributes, "num_heads": heads}
        turned = self.edit.insert(place, "RotaryEmbedding", [flat, *angles], attributes, dtype=x.dtype)
        return [turned, apart]

    def _built(self, place: ir.Node, x: ir.Value, build: Build, flat: ir.Value) -> ir.Value:
        """Angles for every batch; layers share them."""
        batch = (sizes_of(x) or (None,))[0]
        assert isinstance(place.graph, ir.Graph)
        key = place.graph, flat, str(batch)
        if key not in self._angles:
            half = build(self.edit, place)
            stays = (sizes_of(flat) or (None,))[0] == batch
            self._angles[key] = half if stays else self._for_each_batch(place, x, half)
        return self._angles[key]

    def _for_each_batch(self, place: ir.Node, x: ir.Value, half: ir.Value) -> ir.Value:
        ones = self.edit.constant(np.array([1, 1], np.int64), half)
        batch = self.edit.insert(place, "Shape", [x], {"start": 0, "end": 1}, dtype=ir.DataType.INT64)
        target = self.edit.insert(place, "Concat", [batch, ones], {"axis": 0}, dtype=ir.DataType.INT64)
        return self.edit.insert(place, "Expand", [half, target], dtype=half.dtype)


@dataclass(frozen=True)
class _Rotation:
    x: ir.Value
    cosines: ir.Value
    sines: ir.Value
    nodes: tuple[ir.Node, ...]
    pairs: bool = False  # whether x1 and x2 are neighbours, and not halves
    once: bool = False  # whether the angles are given for each pair, and not for each element


def _rotation(node: ir.Node) -> _Rotation | None:
    if node.op_type == "Concat":
        whole = rotated_at_once(node)
        if whole is None:
            return None
        return _Rotation(whole.halves.x, whole.cosines, whole.sines, (node, *whole.nodes), once=True)
    return next((found for one, two in operands(node) if (found := _sum(node, one, two))), None)


def _sum(total: ir.Node, plain: ir.Value, turned: ir.Value) -> _Rotation | None:
    left, right = made_by(plain, "Mul"), made_by(turned, "Mul")
    if left is None or right is None:
        return None
    for x, cosines in operands(left):
        for rotated, sines in operands(right):
            for pairs, turned_by in ((False, turned_halves), (True, turned_pairs)):
                turn = turned_by(rotated, x)
                if turn:
                    return _Rotation(x, cosines, sines, (total, left, right, *turn), pairs)
    return None


def _numbers(x: ir.Value) -> tuple[int, int] | None:
    """How many heads of how many elements, where those are the last axes."""
    *_, heads, elements = sizes_of(x) or (None, None)
    if heads is None or elements is None or heads.number is None or elements.number is None:
        return None
    return heads.number, elements.number


def _head_axis(rotation: _Rotation) -> int:
    """1 for [batch, head, length, element], 2 for [batch, length, head, element]: there the angles are one for all."""
    found = {_heads_of(rotation, angles) for angles in (rotation.cosines, rotation.sines)}
    hold(len(found) == 1, "its cosines and its sines have their heads at different places")
    return found.pop()


def _heads_of(rotation: _Rotation, angles: ir.Value) -> int:
    here, there = sizes_of(rotation.x), sizes_of(angles)
    if here is None or there is None or len(here) != 4 or len(there) != 4 or None in here:
        raise UnfitError(f"its angles '{angles.name}' are not known to be [batch, 1, length, element]")
    batch, *middle, width = here
    assert width is not None
    for axis in (1, 2):
        wanted = [middle[0], _ONE] if axis == 2 else [_ONE, middle[1]]
        wanted.append(width.divided(Size.of(2)) if rotation.once else width)
        if there[0] in (_ONE, batch) and list(there[1:]) == wanted:
            return axis
    raise UnfitError(f"its angles '{angles.name}' may be other ones for each head")


def _half(rotation: _Rotation, angles: ir.Value, heads: int) -> tuple[Build, ir.Value]:
    """How the operator's angles are made, and what they are made of."""
    if rotation.once:
        flat = without_head_axis(angles, heads)
        hold(flat is not None, f"its angles '{angles.name}' are not known to be [batch, 1, length, element]")
        assert flat is not None
        return lambda edit, place: flat, flat
    found = halved(angles, heads, pairs=rotation.pairs)
    if isinstance(found, str):
        raise UnfitError(f"its angles '{angles.name}' are not known to {found}")
    return found


def _partial(x: ir.Value, turned: ir.Value) -> tuple[ir.Node, ir.Value, int] | None:
    """Where the rotated part is joined to the rest: the joint, all of x, and how much is rotated."""
    first, joined = part(x), user_of(turned, "Concat")
    if first is None or joined is None or not joins_two(joined) or joined.inputs[0] is not turned:
        return None
    rest = part(joined.inputs[1])
    if rest is None or (first.start, rest.of, rest.start, rest.stop) != (0, first.of, first.stop, first.length):
        return None
    return joined, first.of, first.stop
