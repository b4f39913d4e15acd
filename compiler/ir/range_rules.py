"""How each operator's results are bounded by its inputs, for `compiler.ir.ranges`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.ranges import SMALL, Range, Ranges, Rule, hull, type_range

_BIG = float(np.finfo(np.float32).max)
_TINY = 1.4e-45  # the smallest float32 above zero


def _bounded(low: Array, high: Array) -> Range:
    """Finite bounds, and of one interval only where there would be many."""
    low, high = (np.clip(np.nan_to_num(side, nan=0.0), -_BIG, _BIG) for side in (low, high))
    made = Range(np.asarray(low, np.float64), np.asarray(high, np.float64))
    return made.whole() if made.low.size > SMALL else made


def _corners(function: Callable[[Array, Array], Array], a: Range, b: Range) -> Range:
    """For what is monotone in each of its operands, where the other one stands still."""
    with np.errstate(all="ignore"):
        found = np.stack(np.broadcast_arrays(*(function(x, y) for x in (a.low, a.high) for y in (b.low, b.high))))
    return _bounded(found.min(axis=0), found.max(axis=0))


def _monotone(function: Callable[[Array], Array], least: float = -_BIG, most: float = _BIG) -> Rule:
    """For a function that never falls, of numbers between `least` and `most`."""

    def rule(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
        with np.errstate(all="ignore"):
            return _bounded(*(function(np.clip(side, least, most)) for side in (given[0].low, given[0].high)))

    return rule


def _always(low: float, high: float) -> Rule:
    return lambda ranges, node, given: Range.of(low, high)


# -- arithmetic ------------------------------------------------------------------------------------------------------


def _add(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _bounded(given[0].low + given[1].low, given[0].high + given[1].high)


def _sub(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _bounded(given[0].low - given[1].high, given[0].high - given[1].low)


def _mul(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    if node.inputs[0] is node.inputs[1]:
        return _square(given[0])
    return _corners(np.multiply, given[0], given[1])


def _square(a: Range) -> Range:
    high = np.maximum(np.abs(a.low), np.abs(a.high)) ** 2
    low = np.where((a.low <= 0) & (a.high >= 0), 0.0, np.minimum(np.abs(a.low), np.abs(a.high)) ** 2)
    return _bounded(low, high)


def _div(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    value, by = given
    if _is_whole(node.outputs[0]):
        # By zero is undefined; by anything else, the result is no further from zero.
        if np.all(by.low >= 0) or np.all(by.high <= 0):
            safe = Range(np.where(by.low == 0, 1.0, by.low), np.where(by.high == 0, -1.0, by.high))
            return _corners(lambda x, y: np.trunc(x / y), value, safe)
        most = np.maximum(np.abs(value.low), np.abs(value.high))
        return _bounded(-most, most)
    if np.all(by.low > 0) or np.all(by.high < 0):
        return _corners(np.divide, value, by)
    return type_range(node.outputs[0].dtype)


def _mod(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    value, by = given
    most = max(abs(by.least), abs(by.most))
    most = most - 1 if _is_whole(node.outputs[0]) and most else most
    if _flag(node, "fmod"):
        most = min(most, max(abs(value.least), abs(value.most)))
        return Range.of(-most if value.least < 0 else 0, most if value.most > 0 else 0)
    return Range.of(-most if by.least < 0 else 0, most if by.most > 0 else 0)


def _neg(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _bounded(-given[0].high, -given[0].low)


def _abs(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = np.abs(given[0].low), np.abs(given[0].high)
    crosses = (given[0].low <= 0) & (given[0].high >= 0)
    return _bounded(np.where(crosses, 0.0, np.minimum(low, high)), np.maximum(low, high))


def _max(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = given[0].low, given[0].high
    for other in given[1:]:
        low, high = np.maximum(low, other.low), np.maximum(high, other.high)
    return _bounded(low, high)


def _min(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = given[0].low, given[0].high
    for other in given[1:]:
        low, high = np.minimum(low, other.low), np.minimum(high, other.high)
    return _bounded(low, high)


def _clip(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = given[0].low, given[0].high
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        low, high = np.maximum(low, given[1].low), np.maximum(high, given[1].high)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        low, high = np.minimum(low, given[2].low), np.minimum(high, given[2].high)
    return _bounded(low, high)


def _pow(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    base, exponent = given
    if exponent.known is not None and np.all(exponent.low == 2):
        return _square(base)
    if base.least >= 1 or (base.least >= 0 and exponent.least >= 0):
        return _corners(np.power, base, exponent)
    if exponent.least >= 0:
        with np.errstate(over="ignore"):
            most = min(float(np.power(max(abs(base.least), abs(base.most), 1.0), exponent.most)), _BIG)
        return Range.of(-most, most)
    return type_range(node.outputs[0].dtype)


def _reciprocal(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    if given[0].least > 0 or given[0].most < 0:
        return _bounded(1 / given[0].high, 1 / given[0].low)
    return type_range(node.outputs[0].dtype)


def _cast(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    source, to = node.inputs[0], node.outputs[0]
    if to.dtype is ir.DataType.BOOL:
        return Range.of(0, 1)
    if source is not None and _is_whole(to) and not _is_whole(source):
        # One more on each side, for what the float arithmetic before it was rounded by.
        return _bounded(np.floor(given[0].low) - 1, np.ceil(given[0].high) + 1)
    return given[0]


def _bitwise(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    if any(one.least < 0 for one in given):
        limits = type_range(node.outputs[0].dtype)
        most = max(max(abs(one.least), abs(one.most)) for one in given)
        bits = 2.0 ** np.ceil(np.log2(most + 1))
        return Range.of(max(-bits, limits.least), min(bits - 1, limits.most))
    if node.op_type == "BitwiseAnd":
        return Range.of(0, min(one.most for one in given))
    return Range.of(0, 2.0 ** np.ceil(np.log2(max(one.most for one in given) + 1)) - 1)


def _bit_shift(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    sign = 1 if node.attributes["direction"].as_string() == "LEFT" else -1
    return _corners(lambda x, y: np.floor(x * 2.0 ** (sign * np.minimum(y, 64))), given[0], given[1])


# -- sums ------------------------------------------------------------------------------------------------------------


def _reduced(ranges: Ranges, node: ir.Node) -> float:
    """How many elements go into one result, at most."""
    data = node.inputs[0]
    assert data is not None
    axes: Sequence[int] | None = node.attributes["axes"].as_ints() if "axes" in node.attributes else None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        known = ranges.held(node.inputs[1]).known
        if known is None:
            return ranges.count(data)
        axes = [int(axis) for axis in known.reshape(-1)]
    if axes is None or not axes:
        return 1 if axes == [] or _flag(node, "noop_with_empty_axes") else ranges.count(data)
    rank = len(data.shape) if data.shape is not None else 0
    return ranges.count(data, [axis % rank if rank else axis for axis in axes])


def _summed(count: float, each: Range) -> Range:
    """A sum of up to so many numbers, which may be of none."""
    return Range.of(min(0.0, each.least, count * each.least), max(0.0, each.most, count * each.most))


def _reduce_sum(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _summed(_reduced(ranges, node), given[0])


def _reduce_l1(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _summed(_reduced(ranges, node), _abs(ranges, node, given))


def _reduce_sum_square(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _summed(_reduced(ranges, node), _square(given[0]))


def _reduce_prod(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data = given[0]
    if _exact(node.inputs[0], data) and data.low.ndim == 1 and np.all(data.low >= 0):
        return Range.of(float(np.prod(data.low)), min(float(np.prod(data.high)), _BIG))
    count, most = _reduced(ranges, node), max(abs(data.least), abs(data.most), 1.0)
    product = _BIG if count * np.log2(most) > 120 else most**count
    return Range.of(0 if data.least >= 0 else -product, product)


def _cum_sum(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    axis = given[1].known
    data = node.inputs[0]
    assert data is not None
    count = ranges.count(data) if axis is None else ranges.extent(data, int(axis.reshape(-1)[0]))[1]
    return _summed(count, given[0])


def _mat_mul(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    """Zero points, where there are any, only shift each factor by what its type holds."""
    left = node.inputs[0]
    assert left is not None
    factors = [_widened(node, given, place) for place in (0, 1)]
    return _summed(ranges.extent(left, -1)[1], _corners(np.multiply, factors[0].whole(), factors[1].whole()))


def _widened(node: ir.Node, given: list[Range], place: int) -> Range:
    shift = given[place + 2] if len(node.inputs) > place + 2 and node.inputs[place + 2] is not None else Range.of(0, 0)
    return Range.of(given[place].least - shift.most, given[place].most - shift.least)


# -- places and sizes ------------------------------------------------------------------------------------------------


def _shape(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data = node.inputs[0]
    sizes = ranges.extents(data) if data is not None else None
    if sizes is None:
        return Range.of(0, 2**31 - 1)
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
    return Range.of(0, max([size[1] - 1 for size in sizes], default=0) if sizes is not None else 2**31 - 1)


def _unique(ranges: Ranges, node: ir.Node, given: list[Range]) -> list[Range]:
    data = node.inputs[0]
    assert data is not None
    places = Range.of(0, ranges.count(data))
    return [given[0].whole(), places, places, places]


def _range(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    """From the start towards the limit, which is not reached."""
    start, limit, step = (one.whole() for one in given)
    low, high = start.least, start.most
    last = 1.0 if _is_whole(node.outputs[0]) else 0.0
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


def _exact(value: ir.Value | None, found: Range) -> bool:
    """Whether there is one interval for each element, in the tensor's own shape."""
    return value is not None and value.shape is not None and found.low.shape == tuple(value.shape)


def _reshaped(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, shape = given[0], node.outputs[0].shape
    sizes = [size for size in shape if isinstance(size, int)] if shape is not None else None
    if sizes is None or shape is None or len(sizes) != len(shape) or not _exact(node.inputs[0], data):
        return data.whole()
    if np.prod(sizes) != data.low.size:
        return data.whole()
    return Range(data.low.reshape(sizes), data.high.reshape(sizes))


def _gather(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, places, axis = given[0], given[1].known, node.attributes.get_int("axis", 0)
    if places is None or not _exact(node.inputs[0], data) or not _exact(node.inputs[1], given[1]):
        return data.whole()
    indices = places.astype(np.int64)
    size = data.low.shape[axis]
    if np.any(indices < -size) or np.any(indices >= size):
        return data.whole()
    return Range(np.take(data.low, indices, axis), np.take(data.high, indices, axis))


def _concat(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    axis = node.attributes["axis"].as_int()
    if all(_exact(value, one) for value, one in zip(node.inputs, given, strict=True)):
        low, high = (np.concatenate(sides, axis) for sides in ([one.low for one in given], [one.high for one in given]))
        return _bounded(low, high)
    return hull(given)


def _slice(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data, bounds = given[0], [one.known for one in given[1:]]
    if not _exact(node.inputs[0], data) or any(one is None for one in bounds) or None in node.inputs:
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
            added = _summed(ranges.count(value), updates)
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


def _where(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return _bounded(np.minimum(given[1].low, given[2].low), np.maximum(given[1].high, given[2].high))


def _flag(node: ir.Node, name: str) -> bool:
    return bool(node.attributes.get_int(name, 0))


def _is_whole(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_integer()


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


RULES: dict[str, Rule] = {
    "Add": _add, "Sub": _sub, "Mul": _mul, "Div": _div, "Mod": _mod, "Neg": _neg, "Abs": _abs, "Pow": _pow,
    "Max": _max, "Min": _min, "Clip": _clip, "Where": _where, "Reciprocal": _reciprocal,
    "Cast": _cast, "CastLike": _cast, "BitShift": _bit_shift,
    "BitwiseAnd": _bitwise, "BitwiseOr": _bitwise, "BitwiseXor": _bitwise,
    "BitwiseNot": lambda ranges, node, given: _bounded(-given[0].high - 1, -given[0].low - 1),
    "Sign": _monotone(np.sign), "Floor": _monotone(np.floor), "Ceil": _monotone(np.ceil), "Round": _monotone(np.rint),
    "Sqrt": _monotone(np.sqrt, least=0), "Exp": _monotone(np.exp), "Log": _monotone(np.log, least=_TINY),
    "Relu": _monotone(lambda x: np.maximum(x, 0)), "Sigmoid": _monotone(_sigmoid), "Tanh": _monotone(np.tanh),
    "Sin": _always(-1, 1), "Cos": _always(-1, 1), "Erf": _always(-1, 1), "HardSigmoid": _always(0, 1),
    "Softmax": _always(0, 1), "Hardmax": _always(0, 1), "EyeLike": _always(0, 1), "Atan": _always(-1.6, 1.6),
    "Acos": _always(0, 3.2), "Asin": _always(-1.6, 1.6),
    "Mean": lambda ranges, node, given: hull(given),
    "ReduceSum": _reduce_sum, "ReduceL1": _reduce_l1, "ReduceSumSquare": _reduce_sum_square,
    "ReduceProd": _reduce_prod, "CumSum": _cum_sum,
    "ReduceMean": _moved(0), "ReduceMax": _moved(0), "ReduceMin": _moved(0),
    "MatMul": _mat_mul, "MatMulInteger": _mat_mul,
    "Shape": _shape, "Size": _size, "ArgMax": _arg_max, "ArgMin": _arg_max, "TopK": _top_k, "NonZero": _non_zero,
    "Unique": _unique, "Range": _range, "NonMaxSuppression": _non_max_suppression,
    "Constant": _constant, "ConstantOfShape": _constant_of_shape, "OneHot": _moved(2),
    "Reshape": _reshaped, "Squeeze": _reshaped, "Unsqueeze": _reshaped, "Flatten": _reshaped,
    "Identity": lambda ranges, node, given: given[0],
    "Gather": _gather, "Concat": _concat, "Slice": _slice,
    "ScatterElements": _scattered, "ScatterND": _scattered,
    "Transpose": _moved(0), "Expand": _moved(0), "Tile": _moved(0), "Split": _split, "GatherElements": _moved(0),
    "GatherND": _moved(0), "Compress": _moved(0), "ReverseSequence": _moved(0), "DepthToSpace": _moved(0),
    "SpaceToDepth": _moved(0), "Dropout": _moved(0), "MaxPool": _max_pool, "Trilu": _moved(0, also=[0]),
    "Pad": _moved(0, 2, also=[0]),
}  # fmt: skip
