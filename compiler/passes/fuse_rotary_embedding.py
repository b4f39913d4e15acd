"""x * cos + rotate(x) * sin = RotaryEmbedding(x, cos, sin), where rotate([x1, x2]) = [-x2, x1] for the halves of x.

In the interleaved layout x1 and x2 are neighbours instead. The angles are the same for both, so the operator takes them
once. Where only the first elements of each head are rotated, and the rest is joined to them again, that is the
operator's rotary_embedding_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from compiler.passes.fusion import FLOATS, Fused, Fusion, UnfitError, hold, operands, user_of
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import input_of, made_by, rank, small_ints
from compiler.passes.rotated_pairs import turned_pairs
from compiler.passes.rotation_angles import Build, halved
from compiler.passes.sizes import Size


class FuseRotaryEmbedding(Fusion):
    """Anchored on the sum."""

    anchors: ClassVar = frozenset({"Add"})
    since: ClassVar = 23

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._angles: dict[tuple[ir.Graph, ir.Value, str], ir.Value] = {}
        return super().call(model)

    def find(self, node: ir.Node) -> Fused | None:
        rotation = next((found for one, two in operands(node) if (found := _rotation(node, one, two))), None)
        if rotation is None:
            return None
        hold(rotation.x.dtype in FLOATS, f"'{rotation.x.name}' is not known to be a float")
        cosines, sines = (self._half(rotation, angles) for angles in (rotation.cosines, rotation.sines))
        whole = _partial(rotation)
        last, x, nodes = node, rotation.x, rotation.nodes
        attributes: dict[str, Any] = {"interleaved": 1} if rotation.pairs else {}
        if whole is not None:
            last, x, more, attributes["rotary_embedding_dim"] = whole
            nodes = (*nodes, *more)

        def inputs() -> Sequence[ir.Value | None]:
            return [x, self._built(last, x, *cosines), self._built(last, x, *sines)]

        return Fused(last, "RotaryEmbedding", inputs, nodes, attributes)

    def _half(self, rotation: _Rotation, angles: ir.Value) -> tuple[Build, ir.Value]:
        """How the operator's angles are made, and what they are half of."""
        here, there = sizes_of(rotation.x), sizes_of(angles)
        if here is None or there is None or len(here) != 4 or len(there) != 4:
            raise UnfitError(f"its angles '{angles.name}' are not known to be [batch, 1, length, element]")
        fits = there[0] in (Size.of(1), here[0]) and there[1] == Size.of(1) and there[2:] == here[2:]
        hold(fits and None not in here, f"its angles '{angles.name}' may be other ones for each head")
        found = halved(angles, rotation.pairs)
        if isinstance(found, str):
            raise UnfitError(f"its angles '{angles.name}' are not known to {found}")
        return found

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
    pairs: bool  # whether x1 and x2 are neighbours, and not halves


def _rotation(total: ir.Node, plain: ir.Value, turned: ir.Value) -> _Rotation | None:
    left, right = made_by(plain, "Mul"), made_by(turned, "Mul")
    if left is None or right is None:
        return None
    for x, cosines in operands(left):
        for rotated, sines in operands(right):
            for pairs, turned_by in ((False, _turned_halves), (True, turned_pairs)):
                turn = turned_by(rotated, x)
                if turn:
                    return _Rotation(x, cosines, sines, (total, left, right, *turn), pairs)
    return None


def _turned_halves(rotated: ir.Value, x: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes that join the second half of x, with its sign changed, and the first."""
    joined = made_by(rotated, "Concat")
    if joined is None or len(joined.inputs) != 2 or joined.attributes.get_int("axis", 0) not in (-1, 3):
        return ()
    negated = made_by(joined.inputs[0], "Neg")
    first = _part(joined.inputs[1])
    second = _part(negated.inputs[0]) if negated is not None else None
    if negated is None or first is None or second is None:
        return ()
    half = first.stop
    if (first.of, first.start) != (x, 0) or (second.of, second.start, second.stop) != (x, half, 2 * half):
        return ()
    return (joined, negated, *dict.fromkeys((first.node, second.node))) if first.length == 2 * half else ()


@dataclass(frozen=True)
class _Part:
    """of[..., start:stop], where the last axis has this length."""

    of: ir.Value
    start: int
    stop: int
    length: int
    node: ir.Node


def _part(value: ir.Value | None) -> _Part | None:
    node = made_by(value, "Slice", "Split")
    source = node.inputs[0] if node is not None else None
    sizes = sizes_of(source)
    length = sizes[-1].number if sizes and sizes[-1] is not None else None
    if node is None or source is None or value is None or length is None:
        return None
    found = _slice(node, rank(source) or 0) if node.op_type == "Slice" else _split(node, value)
    if found is None:
        return None
    start, stop, _ = slice(*found).indices(length)
    return _Part(source, start, stop, length, node)


def _slice(node: ir.Node, dims: int) -> tuple[int, int] | None:
    starts, ends, axes, steps = (small_ints(input_of(node, place)) for place in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None or len(axes) != 1 or axes[0] not in (-1, dims - 1):
        return None
    return (starts[0], ends[0]) if steps in (None, [1]) and (steps or input_of(node, 4) is None) else None


def _split(node: ir.Node, value: ir.Value) -> tuple[int, int] | None:
    last = [sizes[-1] if (sizes := sizes_of(part)) else None for part in node.outputs]
    lengths = [size.number for size in last if size is not None and size.number is not None]
    if node.attributes.get_int("axis", 0) not in (-1, 3) or len(lengths) < len(last):
        return None
    place = list(node.outputs).index(value)
    return sum(lengths[:place]), sum(lengths[: place + 1])


def _partial(rotation: _Rotation) -> tuple[ir.Node, ir.Value, tuple[ir.Node, ...], int] | None:
    """Where the rotated part is joined to the rest: the joint, all of x, the nodes between, and how much is rotated."""
    turned = rotation.nodes[0].outputs[0]
    part, joined = _part(rotation.x), user_of(turned, "Concat")
    if part is None or joined is None or len(joined.inputs) != 2 or joined.inputs[0] is not turned:
        return None
    rest = _part(joined.inputs[1])
    if rest is None or (part.start, rest.of, rest.start, rest.stop) != (0, part.of, part.stop, part.length):
        return None
    if joined.attributes.get_int("axis", 0) not in (-1, 3):
        return None
    return joined, part.of, (joined,), part.stop
