"""[-x2, x1] of [x1, x2]: how halves are turned, in whatever way that is written."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.fusion import operands
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import input_of, made_by, rank, small_ints


def turned_halves(rotated: ir.Value, x: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes that join the second half of x, with its sign changed, and the first; none if it is something else."""
    joined = made_by(rotated, "Concat")
    if joined is None or not joins_two(joined):
        return ()
    negated = made_by(joined.inputs[0], "Neg")
    halves = _halves(joined.inputs[1], negated.inputs[0] if negated is not None else None)
    return () if negated is None or halves is None or halves.x is not x else (joined, negated, *halves.nodes)


@dataclass(frozen=True)
class Halves:
    """A value that is taken apart in the middle of its last axis."""

    x: ir.Value
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class Whole:
    """A rotation that joins two sums of products, with angles for each pair and not for each element."""

    halves: Halves
    cosines: ir.Value
    sines: ir.Value
    nodes: tuple[ir.Node, ...]


def rotated_at_once(joined: ir.Node) -> Whole | None:
    """[x1 cos - x2 sin, x2 cos + x1 sin]."""
    if not joins_two(joined):
        return None
    difference, total = made_by(joined.inputs[0], "Sub"), made_by(joined.inputs[1], "Add")
    products = [made_by(value, "Mul") for node in (difference, total) if node is not None for value in node.inputs]
    if difference is None or total is None or any(product is None for product in products):
        return None
    minuend, subtrahend, *summands = products
    for x1, cosines in operands(minuend):
        for x2, sines in operands(subtrahend):
            halves, wanted = _halves(x1, x2), ({x2, cosines}, {x1, sines})
            got = [set(product.inputs) for product in summands if product is not None]
            if halves is not None and (tuple(got) == wanted or tuple(reversed(got)) == wanted):
                inner = [node for node in (difference, total, *products) if node is not None]
                return Whole(halves, cosines, sines, (*dict.fromkeys(inner), *halves.nodes))
    return None


def joins_two(node: ir.Node) -> bool:
    """Along the last axis."""
    last = (-1, (rank(node.outputs[0]) or 0) - 1)
    return len(node.inputs) == 2 and node.attributes.get_int("axis", 0) in last


def _halves(one: ir.Value | None, two: ir.Value | None) -> Halves | None:
    first, second = part(one), part(two)
    if first is None or second is None or first.of is not second.of:
        return None
    half = first.stop
    if (first.start, second.start, second.stop, first.length) != (0, half, 2 * half, 2 * half):
        return None
    return Halves(first.of, tuple(dict.fromkeys((first.node, second.node))))


@dataclass(frozen=True)
class Part:
    """of[..., start:stop], where the last axis has this length."""

    of: ir.Value
    start: int
    stop: int
    length: int
    node: ir.Node


def part(value: ir.Value | None) -> Part | None:
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
    return Part(source, start, stop, length, node)


def _slice(node: ir.Node, dims: int) -> tuple[int, int] | None:
    starts, ends, axes, steps = (small_ints(input_of(node, place)) for place in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None or len(axes) != 1 or axes[0] not in (-1, dims - 1):
        return None
    return (starts[0], ends[0]) if steps in (None, [1]) and (steps or input_of(node, 4) is None) else None


def _split(node: ir.Node, value: ir.Value) -> tuple[int, int] | None:
    last = [sizes[-1] if (sizes := sizes_of(part)) else None for part in node.outputs]
    lengths = [size.number for size in last if size is not None and size.number is not None]
    if node.attributes.get_int("axis", 0) not in (-1, (rank(value) or 0) - 1) or len(lengths) < len(last):
        return None
    place = list(node.outputs).index(value)
    return sum(lengths[:place]), sum(lengths[: place + 1])
