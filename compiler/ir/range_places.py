"""How sizes, places and values that only move are bounded, for `compiler.ir.ranges`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compiler.ir.extents import UNKNOWN
from compiler.ir.ranges import Range, Ranges, Rule, bounded, hull, is_whole, summed, type_range


def _shape(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data = node.inputs[0]
    sizes = ranges.extents(data) if data is not None else None
    if sizes is None:
        return Range.of(0, UNKNOWN)
    sizes = sizes[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(sizes))]
    return (
        Range(np.array([low for low, _ in sizes]), np.array([high for _, high in sizes])) if sizes else Range.of(0, 0)
    )


def _size(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data = node.inputs[0]
    assert data is not None
    return Range.of(0, ranges.count(data))


def _place_along(ranges: Ranges, node: ir.Node, default: int) -> Range:
    data = node.inputs[0]
    assert data is not None
    return Range.of(0, max(ranges.extent(data, node.attributes.get_int("axis", default))[1] - 1, 0))


def _arg_max(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _place_along(ranges, node, 0)


def _top_k(ranges: Ranges, node: ir.Node, given: list[Range]) -> list[Range]:
    return [given[0].whole(), _place_along(ranges, node, -1)]


def _non_zero(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data = node.inputs[0]
    sizes = ranges.extents(data) if data is not None else None
    return Range.of(0, max([size[1] - 1 for size in sizes], default=0) if sizes is not None else UNKNOWN)


def _unique(ranges: Ranges, node: ir.Node, given: list[Range]) -> list[Range]:
    data = node.inputs[0]
    assert data is not None
    places = Range.of(0, ranges.count(data))
    return [given[0].whole(), places, places, places]


def _range(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    """From the start towards the limit, which is not reached."""
    start, limit, step = (one.whole() for one in given)
    low, high = start.least, start.most
    last = 1.0 if is_whole(node.outputs[0]) else 0.0
    if step.most > 0:
        high = max(high, limit.most - last)
    if step.least < 0:
        low = min(low, limit.least + last)
    return Range.of(low, high)


def _non_max_suppression(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    found = [ranges.count(value, [axis]) for value in node.inputs[:2] if value is not None for axis in (0, 1)]
    return Range.of(0, max(found))


# -- values that only move -------------------------------------------------------------------------------------------


def _moved(*places: int, also: Sequence[float] = ()) -> Rule:
    """The results hold what these inputs hold, and these numbers; without places, what any input holds."""

    def rule(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
        chosen = [one for place, one in enumerate(given) if (not places or place in places) and node.inputs[place]]
        return hull([*chosen, *(Range.of(number, number) for number in also)])

    return rule


def _split(ranges: Ranges, node: ir.Node, given: list[Range]) -> list[Range]:
    return [given[0].whole()] * len(node.outputs)


def _max_pool(ranges: Ranges, node: ir.Node, given: list[Range]) -> list[Range]:
    return [given[0].whole(), _size(ranges, node, given)]


def _reshaped(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, shape = given[0], node.outputs[0].shape
    sizes = [size for size in shape if isinstance(size, int)] if shape is not None else None
    if sizes is None or shape is None or len(sizes) != len(shape) or not data.is_each_of(node.inputs[0]):
        return data.whole()
    if np.prod(sizes) != data.low.size:
        return data.whole()
    return Range(data.low.reshape(sizes), data.high.reshape(sizes))


def _gather(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, places, axis = given[0], given[1].known, node.attributes.get_int("axis", 0)
    if places is None or not data.is_each_of(node.inputs[0]) or not given[1].is_each_of(node.inputs[1]):
        return data.whole()
    indices = places.astype(np.int64)
    size = data.low.shape[axis]
    if np.any(indices < -size) or np.any(indices >= size):
        return data.whole()
    return Range(np.take(data.low, indices, axis), np.take(data.high, indices, axis))


def _concat(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    axis = node.attributes["axis"].as_int()
    if all(one.is_each_of(value) for value, one in zip(node.inputs, given, strict=True)):
        low, high = (np.concatenate(sides, axis) for sides in ([one.low for one in given], [one.high for one in given]))
        return bounded(low, high)
    return hull(given)


def _slice(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, bounds = given[0], [one.known for one in given[1:]]
    if not data.is_each_of(node.inputs[0]) or any(one is None for one in bounds) or None in node.inputs:
        return data.whole()
    starts, ends, *rest = [[int(number) for number in np.reshape(one, -1)] for one in bounds if one is not None]
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    if min(steps, default=1) < 1:
        return data.whole()
    cut = [slice(None)] * data.low.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return Range(data.low[tuple(cut)], data.high[tuple(cut)]) if data.low[tuple(cut)].size else data.whole()


def _scattered(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, updates = given[0].whole(), given[2].whole()
    match node.attributes.get_string("reduction", "none"):
        case "add":
            value = node.inputs[2]
            assert value is not None
            added = summed(ranges.count(value), updates)
            return Range.of(data.least + added.least, data.most + added.most)
        case "mul":
            return type_range(node.outputs[0].dtype)
        case _:
            return hull([data, updates])


def _constant(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is None or tensor.dtype is ir.DataType.STRING:
        return type_range(node.outputs[0].dtype)
    return Range.constant(tensor.numpy())


def _constant_of_shape(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return Range.constant(node.attributes["value"].as_tensor().numpy()).whole() if node.attributes else Range.of(0, 0)


def _same(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return given[0]


def _zero_or_one(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return Range.of(0, 1)


RULES: dict[str, Rule] = {
    "Shape": _shape, "Size": _size, "ArgMax": _arg_max, "ArgMin": _arg_max, "TopK": _top_k, "NonZero": _non_zero,
    "Unique": _unique, "Range": _range, "NonMaxSuppression": _non_max_suppression,
    "Constant": _constant, "ConstantOfShape": _constant_of_shape, "EyeLike": _zero_or_one, "OneHot": _moved(2),
    "Reshape": _reshaped, "Squeeze": _reshaped, "Unsqueeze": _reshaped, "Flatten": _reshaped, "Identity": _same,
    "Gather": _gather, "Concat": _concat, "Slice": _slice, "Split": _split, "MaxPool": _max_pool,
    "ScatterElements": _scattered, "ScatterND": _scattered,
    "Transpose": _moved(0), "Expand": _moved(0), "Tile": _moved(0), "GatherElements": _moved(0), "GatherND": _moved(0),
    "Compress": _moved(0), "ReverseSequence": _moved(0), "DepthToSpace": _moved(0), "SpaceToDepth": _moved(0),
    "ReduceMean": _moved(0), "ReduceMax": _moved(0), "ReduceMin": _moved(0),
    "Dropout": _moved(0), "Trilu": _moved(0, also=[0]), "Pad": _moved(0, 2, also=[0]),
}  # fmt: skip
