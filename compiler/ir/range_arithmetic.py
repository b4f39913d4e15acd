"""How the results of arithmetic are bounded by its operands, for `compiler.ir.ranges`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.ranges import LARGEST_FLOAT, Range, Ranges, Rule, bounded, is_whole, summed, type_range

_TINY = 1.4e-45  # the smallest float32 above zero


def _corners(function: Callable[[Array, Array], Array], a: Range, b: Range) -> Range:
    """For what is monotone in each of its operands, where the other one stands still."""
    with np.errstate(all="ignore"):
        found = np.stack(np.broadcast_arrays(*(function(x, y) for x in (a.low, a.high) for y in (b.low, b.high))))
    return bounded(found.min(axis=0), found.max(axis=0))


def _monotone(function: Callable[[Array], Array], least: float = -LARGEST_FLOAT, most: float = LARGEST_FLOAT) -> Rule:
    """For a function that never falls, of numbers between `least` and `most`."""

    def rule(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
        with np.errstate(all="ignore"):
            return bounded(*(function(np.clip(side, least, most)) for side in (given[0].low, given[0].high)))

    return rule


def _always(low: float, high: float) -> Rule:
    return lambda ranges, node, given: Range.of(low, high)


# -- arithmetic ------------------------------------------------------------------------------------------------------


def _add(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return bounded(given[0].low + given[1].low, given[0].high + given[1].high)


def _sub(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return bounded(given[0].low - given[1].high, given[0].high - given[1].low)


def _mul(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    if node.inputs[0] is node.inputs[1]:
        return _square(given[0])
    return _corners(np.multiply, given[0], given[1])


def _square(a: Range) -> Range:
    high = np.maximum(np.abs(a.low), np.abs(a.high)) ** 2
    low = np.where((a.low <= 0) & (a.high >= 0), 0.0, np.minimum(np.abs(a.low), np.abs(a.high)) ** 2)
    return bounded(low, high)


def _div(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    value, by = given
    if is_whole(node.outputs[0]):
        # By zero is undefined; by anything else, the result is no further from zero.
        if np.all(by.low >= 0) or np.all(by.high <= 0):
            safe = Range(np.where(by.low == 0, 1.0, by.low), np.where(by.high == 0, -1.0, by.high))
            return _corners(lambda x, y: np.trunc(x / y), value, safe)
        most = np.maximum(np.abs(value.low), np.abs(value.high))
        return bounded(-most, most)
    if np.all(by.low > 0) or np.all(by.high < 0):
        return _corners(np.divide, value, by)
    return type_range(node.outputs[0].dtype)


def _mod(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    value, by = given
    most = max(abs(by.least), abs(by.most))
    most = most - 1 if is_whole(node.outputs[0]) and most else most
    if _flag(node, "fmod"):
        most = min(most, max(abs(value.least), abs(value.most)))
        return Range.of(-most if value.least < 0 else 0, most if value.most > 0 else 0)
    return Range.of(-most if by.least < 0 else 0, most if by.most > 0 else 0)


def _neg(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return bounded(-given[0].high, -given[0].low)


def _abs(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = np.abs(given[0].low), np.abs(given[0].high)
    crosses = (given[0].low <= 0) & (given[0].high >= 0)
    return bounded(np.where(crosses, 0.0, np.minimum(low, high)), np.maximum(low, high))


def _max(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = given[0].low, given[0].high
    for other in given[1:]:
        low, high = np.maximum(low, other.low), np.maximum(high, other.high)
    return bounded(low, high)


def _min(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = given[0].low, given[0].high
    for other in given[1:]:
        low, high = np.minimum(low, other.low), np.minimum(high, other.high)
    return bounded(low, high)


def _clip(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    low, high = given[0].low, given[0].high
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        low, high = np.maximum(low, given[1].low), np.maximum(high, given[1].high)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        low, high = np.minimum(low, given[2].low), np.minimum(high, given[2].high)
    return bounded(low, high)


def _pow(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    base, exponent = given
    if exponent.known is not None and np.all(exponent.low == 2):
        return _square(base)
    if base.least >= 1 or (base.least >= 0 and exponent.least >= 0):
        return _corners(np.power, base, exponent)
    if exponent.least >= 0:
        with np.errstate(over="ignore"):
            most = min(float(np.power(max(abs(base.least), abs(base.most), 1.0), exponent.most)), LARGEST_FLOAT)
        return Range.of(-most, most)
    return type_range(node.outputs[0].dtype)


def _reciprocal(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    if given[0].least > 0 or given[0].most < 0:
        return bounded(1 / given[0].high, 1 / given[0].low)
    return type_range(node.outputs[0].dtype)


def _cast(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    source, to = node.inputs[0], node.outputs[0]
    if to.dtype is ir.DataType.BOOL:
        return Range.of(0, 1)
    if source is not None and source.dtype is not None and source.dtype.is_floating_point() and is_whole(to):
        # One more on each side, for what the float arithmetic before it was rounded by.
        return bounded(np.floor(given[0].low) - 1, np.ceil(given[0].high) + 1)
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


def _bitwise_not(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return bounded(-given[0].high - 1, -given[0].low - 1)


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


def _reduce_sum(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return summed(_reduced(ranges, node), given[0])


def _reduce_l1(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return summed(_reduced(ranges, node), _abs(ranges, node, given))


def _reduce_sum_square(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return summed(_reduced(ranges, node), _square(given[0]))


def _reduce_prod(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    data = given[0]
    if data.is_each_of(node.inputs[0]) and data.low.ndim == 1 and np.all(data.low >= 0):
        return Range.of(float(np.prod(data.low)), min(float(np.prod(data.high)), LARGEST_FLOAT))
    count, most = _reduced(ranges, node), max(abs(data.least), abs(data.most), 1.0)
    product = LARGEST_FLOAT if count * np.log2(most) > 120 else most**count
    return Range.of(0 if data.least >= 0 else -product, product)


def _cum_sum(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    axis = given[1].known
    data = node.inputs[0]
    assert data is not None
    count = ranges.count(data) if axis is None else ranges.extent(data, int(axis.reshape(-1)[0]))[1]
    return summed(count, given[0])


def _mat_mul(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    """Zero points, where there are any, only shift each factor by what its type holds."""
    left = node.inputs[0]
    assert left is not None
    factors = [_widened(node, given, place) for place in (0, 1)]
    return summed(ranges.extent(left, -1)[1], _corners(np.multiply, factors[0].whole(), factors[1].whole()))


def _widened(node: ir.Node, given: list[Range], place: int) -> Range:
    shift = given[place + 2] if len(node.inputs) > place + 2 and node.inputs[place + 2] is not None else Range.of(0, 0)
    return Range.of(given[place].least - shift.most, given[place].most - shift.least)


def _where(ranges: Ranges, node: ir.Node, given: list[Range]) -> Range:
    return bounded(np.minimum(given[1].low, given[2].low), np.maximum(given[1].high, given[2].high))


def _flag(node: ir.Node, name: str) -> bool:
    return bool(node.attributes.get_int(name, 0))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


RULES: dict[str, Rule] = {
    "Add": _add, "Sub": _sub, "Mul": _mul, "Div": _div, "Mod": _mod, "Neg": _neg, "Abs": _abs, "Pow": _pow,
    "Max": _max, "Min": _min, "Clip": _clip, "Where": _where, "Reciprocal": _reciprocal,
    "Cast": _cast, "CastLike": _cast, "BitShift": _bit_shift, "BitwiseNot": _bitwise_not,
    "BitwiseAnd": _bitwise, "BitwiseOr": _bitwise, "BitwiseXor": _bitwise,
    "Sign": _monotone(np.sign), "Floor": _monotone(np.floor), "Ceil": _monotone(np.ceil), "Round": _monotone(np.rint),
    "Sqrt": _monotone(np.sqrt, least=0), "Exp": _monotone(np.exp), "Log": _monotone(np.log, least=_TINY),
    "Relu": _monotone(lambda x: np.maximum(x, 0)), "Sigmoid": _monotone(_sigmoid), "Tanh": _monotone(np.tanh),
    "Sin": _always(-1, 1), "Cos": _always(-1, 1), "Erf": _always(-1, 1), "HardSigmoid": _always(0, 1),
    "Softmax": _always(0, 1), "Hardmax": _always(0, 1), "Atan": _always(-1.6, 1.6), "Acos": _always(0, 3.2),
    "Asin": _always(-1.6, 1.6),
    "ReduceSum": _reduce_sum, "ReduceL1": _reduce_l1, "ReduceSumSquare": _reduce_sum_square,
    "ReduceProd": _reduce_prod, "CumSum": _cum_sum, "MatMul": _mat_mul, "MatMulInteger": _mat_mul,
}  # fmt: skip
