"""Operators that make fewer elements out of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import is_float, is_nan, maximum, minimum, number
from backends.tvm.emit.extents import equal, expression, product
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.runtime_sizes import length_of, without_axes
from backends.tvm.emit.runtime_windows import reduced_at_runtime
from backends.tvm.emit.shaping import spread

_HALVES = ("float16", "bfloat16")


def reduced_axes(op: Op) -> list[int] | None:
    """The axes from the front, or None for "leave it as it is"."""
    axes = None if op.has(1) and op.shape(1) == [0] else op.integers("axes", 1)
    if not axes:
        return None if op.attr("noop_with_empty_axes", 0) else list(range(op.rank()))
    return sorted({axis % op.rank() for axis in axes}) if op.rank() else []


def widened(op: Op, x: relax.Expr) -> relax.Expr:
    return op.emit(relax.op.astype(x, "float32")) if str(x.ty.dtype) in _HALVES else x


def narrowed(op: Op, x: relax.Expr) -> relax.Expr:
    return op.emit(relax.op.astype(x, op.output_dtype())) if op.output_dtype() in _HALVES else x


def _reduction(reduce: Callable[[Op, relax.Expr, list[int], bool], relax.Expr]) -> Emit:
    def emit(op: Op) -> Result:
        keep = bool(op.attr("keepdims", 1))
        x = widened(op, op.x())
        if op.has(1) and op.constant(1) is None and length_of(op, 1):
            return narrowed(op, _at_runtime(op, x, keep))
        axes = reduced_axes(op)
        return narrowed(op, op.emit(reduce(op, x, axes if axes is not None else [], keep)))

    return emit


def _at_runtime(op: Op, x: relax.Expr, keep: bool) -> relax.Expr:
    """Over axes that an input names: the same formulas, over axes that all go or stay."""
    dtype = str(x.ty.dtype)
    lengths = without_axes(op, keep=True)

    zero = tirx.const(0, dtype)

    def summed(values: relax.Expr) -> relax.Expr:
        return reduced_at_runtime(op, values, lengths, lambda element, over: te.sum(element, axis=over), zero)

    if op.type in ("ReduceMax", "ReduceMin"):
        result = _extreme_of(op, x, lambda values, step, start: reduced_at_runtime(op, values, lengths, step, start))
    elif op.type == "ReduceProd":
        one = tirx.const(1, dtype)
        reducer = te.comm_reducer(lambda a, b: a * b, lambda _: one, name="product")
        result = reduced_at_runtime(op, x, lengths, lambda element, over: reducer(element, axis=over), one)
    elif op.type == "ReduceMean":
        ones = summed(op.emit(relax.op.ones_like(x)))
        result = op.te(
            lambda a, b: te.compute(
                a.shape, lambda *i: a(*i) / b(*i) if is_float(dtype) else tirx.truncdiv(a(*i), b(*i)), name="T_mean"
            ),
            summed(x),
            ones,
        )
    elif op.type == "ReduceLogSumExp":
        most = _extreme_of(op, x, lambda values, step, start: reduced_at_runtime(op, values, lengths, step, start))
        result = _shifted_log_sum(op, x, most, summed)
    else:
        before = {"ReduceL1": relax.op.abs, "ReduceL2": relax.op.square, "ReduceSumSquare": relax.op.square}
        after = {"ReduceL2": relax.op.sqrt, "ReduceLogSum": relax.op.log}
        prepared = op.emit(before[op.type](x)) if op.type in before else x
        result = summed(prepared)
        if op.type in after:
            result = op.emit(after[op.type](result))
    return result if keep else op.reshape(result, without_axes(op, keep=False))


def _sum(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    return op.emit(relax.op.sum(x, axes, keep)) if axes else x


def _mean(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    if not axes:
        return x
    if is_float(str(x.ty.dtype)):
        return relax.op.mean(x, axes, keep)
    count = product([op.shape()[axis] for axis in axes])
    if not isinstance(count, int):
        op.refuse("a mean of whole numbers over a dynamic dim")
    total = _sum(op, x, axes, keep)
    return op.te(
        lambda data: te.compute(data.shape, lambda *i: tirx.truncdiv(data(*i), number(count, data(*i))), name="T_mean"),
        total,
    )


def extreme(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    """TVM's own max and min lose a NaN that is followed by a number; in float32 ours stand in for them."""
    if not axes:
        return x
    if str(x.ty.dtype) == "float32" and all(not isinstance(extent, int) or extent for extent in op.shape()):
        return op.emit((relax.op.min if op.type == "ReduceMin" else relax.op.max)(x, axes, keep))
    return _extreme_of(op, x, lambda source, step, start: op.te(reducing(axes, keep, step), source))


def _extreme_of(op: Op, x: relax.Expr, run: Callable[..., relax.Expr]) -> relax.Expr:
    largest = op.type != "ReduceMin"
    combine = maximum if largest else minimum
    logical = str(x.ty.dtype) == "bool"
    source = op.emit(relax.op.astype(x, "uint8")) if logical else x

    def start(kind: Any) -> Any:
        if is_float(str(kind)):
            return tirx.const(-math.inf if largest else math.inf, str(kind))
        return tirx.min_value(str(kind)) if largest else tirx.max_value(str(kind))

    reducer = te.comm_reducer(combine, start, name="max" if largest else "min")
    found = run(source, lambda element, over: reducer(element, axis=over), start(source.ty.dtype))
    return op.emit(relax.op.astype(found, "bool")) if logical else found


def reducing(
    axes: Sequence[int], keep: bool, reduce: Callable[[Any, list[Any]], Any]
) -> Callable[[te.Tensor], te.Tensor]:
    """A TE kernel that reduces some axes of a tensor."""

    def compute(data: te.Tensor) -> te.Tensor:
        over = {axis: te.reduce_axis((0, data.shape[axis]), name=f"k{axis}") for axis in axes}
        shape = [
            tirx.IntImm("int64", 1) if place in over else extent
            for place, extent in enumerate(data.shape)
            if keep or place not in over
        ]

        def element(*index: Any) -> Any:
            rest = iter(index)
            own = []
            for place in range(len(data.shape)):
                if place in over:
                    own.append(over[place])
                    if keep:
                        next(rest)
                else:
                    own.append(next(rest))
            return reduce(data(*own), list(over.values()))

        return te.compute(shape, element, name="T_reduce")

    return compute


def _l1(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    return _sum(op, op.emit(relax.op.abs(x)), axes, keep)


def _sum_square(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    return _sum(op, op.emit(relax.op.multiply(x, x)), axes, keep)


def _l2(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    total, dtype = _sum_square(op, x, axes, keep), str(x.ty.dtype)
    if is_float(dtype):
        return relax.op.sqrt(total)
    root = op.emit(relax.op.sqrt(op.emit(relax.op.astype(total, "float64"))))
    return relax.op.astype(root, dtype)


def _log_sum(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    return relax.op.log(_sum(op, x, axes, keep))


def _log_sum_exp(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    if not axes:
        return x
    result = _shifted_log_sum(op, x, extreme(op, x, axes, True), lambda powers: _sum(op, powers, axes, True))
    kept = result.ty.shape.values
    return result if keep else op.reshape(result, [n for place, n in enumerate(kept) if place not in axes])


def _shifted_log_sum(op: Op, x: relax.Expr, most: relax.Expr, summed: Callable[[relax.Expr], relax.Expr]) -> relax.Expr:
    """log Σ exp(x - m) + m; where m is infinite nothing is subtracted, for ∞ - ∞ would be NaN."""

    def finite(data: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            value = data(*i)
            return tirx.Select(tirx.abs(value) < number(math.inf, value), value, number(0, value))

        return te.compute(data.shape, element, name="T_finite")

    shift = op.te(finite, most)
    everywhere = spread(op, shift, x.ty.shape.values)
    powers = op.emit(relax.op.exp(op.emit(relax.op.subtract(x, everywhere))))
    return op.emit(relax.op.add(op.emit(relax.op.log(summed(powers))), shift))


def _prod(op: Op, x: relax.Expr, axes: list[int], keep: bool) -> relax.Expr:
    return relax.op.prod(x, axes, keep) if axes else x


def _arg_extreme(largest: bool) -> Emit:
    """The first place of the extreme, or the last one if asked; NaN counts as the extreme."""

    def emit(op: Op) -> Result:
        axis, keep, last = op.axis(), bool(op.attr("keepdims", 1)), bool(op.attr("select_last_index", 0))

        def better(a: Any, b: Any) -> Any:
            """Whether the earlier or later candidate a beats b: by value, then by place."""
            value = a[1] > b[1] if largest else a[1] < b[1]
            place = a[0] > b[0] if last else a[0] < b[0]
            if is_float(str(a[1].ty.dtype)):
                a_nan, b_nan = is_nan(a[1]), is_nan(b[1])
                tie = tirx.any(tirx.EQ(a[1], b[1]), tirx.all(a_nan, b_nan))
                value = tirx.any(tirx.all(value, tirx.Not(b_nan)), tirx.all(a_nan, tirx.Not(b_nan)))
            else:
                tie = tirx.EQ(a[1], b[1])
            # The starting element has no place yet; anything beats it.
            return tirx.all(a[0] >= 0, tirx.any(b[0] < 0, value, tirx.all(tie, place)))

        def combine(a: Any, b: Any) -> Any:
            wins = better(a, b)
            return tirx.Select(wins, a[0], b[0]), tirx.Select(wins, a[1], b[1])

        def start(place: Any, value: Any) -> Any:
            lowest = tirx.min_value(str(value)) if largest else tirx.max_value(str(value))
            return tirx.const(-1, str(place)), lowest

        reducer = te.comm_reducer(combine, start, name="arg_extreme")

        def compute(data: te.Tensor) -> te.Tensor:
            over = te.reduce_axis((0, data.shape[axis]), name="k")
            shape = [n for place, n in enumerate(data.shape) if place != axis]

            def element(*index: Any) -> Any:
                own = (*index[:axis], over, *index[axis:])
                return reducer((over.var.astype("int64"), data(*own)), axis=over)

            places, _ = te.compute(shape, element, name="T_arg")
            return te.compute(shape, lambda *i: places(*i), name="T_places")

        found = op.te(compute, op.x())
        if not keep:
            return found
        kept = [1 if place == axis else extent for place, extent in enumerate(op.shape())]
        return op.reshape(found, kept)

    return emit


def _softmax(make: Callable[[relax.Expr, int], relax.Expr]) -> Emit:
    def emit(op: Op) -> Result:
        x = widened(op, op.x())
        if op.version >= 13:
            return narrowed(op, op.emit(make(x, op.axis("axis", -1))))
        # Before opset 13 everything from the axis on is one row.
        shape, axis = op.shape(), op.axis("axis", 1)
        rows = op.reshape(x, [op.settled(product(shape[:axis])), op.settled(product(shape[axis:]))])
        return narrowed(op, op.reshape(op.emit(make(rows, 1)), shape))

    return emit


def _hardmax(op: Op) -> Result:
    shape, axis = op.shape(), op.axis("axis", -1)
    found = op.emit(relax.op.argmax(op.x(), axis, False))
    dtype = op.dtype()

    def compute(places: te.Tensor, lengths: list[Any]) -> te.Tensor:
        def element(*index: Any) -> Any:
            own = [*index[:axis], *index[axis + 1 :]]
            return tirx.EQ(places(*own), index[axis]).astype(dtype)

        return te.compute(lengths, element, name="T_hardmax")

    return op.te(compute, found, [expression(extent) for extent in shape])


def _cumulative(op: Op) -> Result:
    axes = op.constant(1)
    if axes is not None:
        return _cumulated(op, int(axes.item()) % op.rank())
    # One for each axis that it may be.
    wanted, result = op.reshape(op.x(1), []), _cumulated(op, 0)
    for axis in range(1, op.rank()):
        this = op.te(
            lambda given, axis=axis: te.compute(
                (), lambda: tirx.any(equal(given(), axis), equal(given(), axis - op.rank())), name="T_is_axis"
            ),
            wanted,
        )
        result = op.emit(relax.op.where(this, _cumulated(op, axis), result))
    return result


def _cumulated(op: Op, axis: int) -> relax.Expr:
    exclusive, backwards = bool(op.attr("exclusive", 0)), bool(op.attr("reverse", 0))
    x, dtype = op.x(), "float32" if op.dtype() in _HALVES else op.dtype()
    if backwards:
        x = op.emit(relax.op.flip(x, axis))
    scan = relax.op.cumprod if op.type == "CumProd" else relax.op.cumsum
    total = op.emit(scan(x, axis, dtype, exclusive))
    if backwards:
        total = op.emit(relax.op.flip(total, axis))
    return narrowed(op, total)


EMIT: dict[str, Emit] = {
    "ArgMax": _arg_extreme(largest=True),
    "ArgMin": _arg_extreme(largest=False),
    "CumProd": _cumulative,
    "CumSum": _cumulative,
    "Hardmax": _hardmax,
    "LogSoftmax": _softmax(relax.op.nn.log_softmax),
    "ReduceL1": _reduction(_l1),
    "ReduceL2": _reduction(_l2),
    "ReduceLogSum": _reduction(_log_sum),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(extreme),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(extreme),
    "ReduceProd": _reduction(_prod),
    "ReduceSum": _reduction(_sum),
    "ReduceSumSquare": _reduction(_sum_square),
    "Softmax": _softmax(relax.op.nn.softmax),
}
