"""Softmax, normalizations and reductions over the last axis.

The blocks are marked so that one loop over the rows holds them all (schedule/rows.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.lower.kernels.call import DeclinedError, Kernel, Lowering
from backends.tvm.lower.relax_tools import dtype_of, fixed, is_float32, shape_of
from backends.tvm.lower.vector_math import exp, f32, larger, smaller

# The value is worth keeping for the rest of the row instead of being computed at each use.
KEPT = "plumbline.kept"


def softmax(at: Lowering, call: relax.Call) -> relax.Expr:
    return _softmax(at, call, logarithm=False)


def log_softmax(at: Lowering, call: relax.Call) -> relax.Expr:
    return _softmax(at, call, logarithm=True)


def _softmax(at: Lowering, call: relax.Call, *, logarithm: bool) -> relax.Expr:
    (x,) = call.args
    _last_axis(x, [call.attrs.axis])
    lanes = at.machine.vector_lanes

    def compute(a: te.Tensor) -> te.Tensor:
        lead = a.shape[:-1]
        peak = over_row(a.shape, LARGEST, lambda i, k: a(*i, k), lanes)
        # The largest of a row of -inf is -inf, and -inf less -inf NaN: what ONNX and PyTorch answer.
        powers = te.compute(a.shape, lambda *i: exp(a(*i) - peak(*i[:-1])), name="powers", attrs={KEPT: 1})
        total = over_row(a.shape, SUM, lambda i, k: powers(*i, k), lanes)
        if logarithm:
            log = te.compute(lead, lambda *i: tirx.log(total(*i)), name="row_log", attrs={KEPT: 1})
            return te.compute(a.shape, lambda *i: a(*i) - peak(*i[:-1]) - log(*i[:-1]), name="log_softmax")
        return te.compute(a.shape, lambda *i: powers(*i) / total(*i[:-1]), name="softmax")

    return at.call(compute, x, name="log_softmax" if logarithm else "softmax")


def layer_norm(at: Lowering, call: relax.Call) -> relax.Expr:
    x = call.args[0]
    _last_axis(x, call.attrs.axes)
    epsilon, scaled, shifted = float(call.attrs.epsilon), bool(call.attrs.scale), bool(call.attrs.center)
    lanes = at.machine.vector_lanes

    def compute(a: te.Tensor, gamma: te.Tensor, beta: te.Tensor) -> te.Tensor:
        def element(value: Any, k: Any) -> Any:
            value = value * gamma(k) if scaled else value
            return value + beta(k) if shifted else value

        return normalized(a, epsilon, lanes, element)

    return at.call(compute, *call.args[:3], name="layer_norm")


def normalized(
    a: te.Tensor, epsilon: float, lanes: int, then: Callable[[Any, Any], Any] = lambda value, _: value
) -> te.Tensor:
    """Rows with mean 0 and variance 1; `then` is applied to (value, place in the row)."""
    lead, count = a.shape[:-1], tirx.Cast("float32", a.shape[-1])
    total = over_row(a.shape, SUM, lambda i, k: a(*i, k), lanes)
    mean = te.compute(lead, lambda *i: total(*i) / count, name="row_mean", attrs={KEPT: 1})

    def squared(i: tuple[Any, ...], k: Any) -> Any:
        return (a(*i, k) - mean(*i)) * (a(*i, k) - mean(*i))

    root = _root(lead, over_row(a.shape, SUM, squared, lanes), count, epsilon)

    def element(*i: tirx.Var) -> Any:
        return then((a(*i) - mean(*i[:-1])) * root(*i[:-1]), i[-1])

    return te.compute(a.shape, element, name="normalized")


def rms_norm(at: Lowering, call: relax.Call) -> relax.Expr:
    x = call.args[0]
    _last_axis(x, call.attrs.axes)
    epsilon, lanes = float(call.attrs.epsilon), at.machine.vector_lanes

    def compute(a: te.Tensor, gamma: te.Tensor) -> te.Tensor:
        squares = over_row(a.shape, SUM, lambda i, k: a(*i, k) * a(*i, k), lanes)
        root = _root(a.shape[:-1], squares, tirx.Cast("float32", a.shape[-1]), epsilon)
        return te.compute(a.shape, lambda *i: a(*i) * root(*i[:-1]) * gamma(i[-1]), name="rms_norm")

    return at.call(compute, *call.args[:2], name="rms_norm")


def _root(lead: Any, squares: te.Tensor, count: Any, epsilon: float) -> te.Tensor:
    def element(*i: tirx.Var) -> Any:
        return f32(1.0) / tirx.sqrt(squares(*i) / count + f32(epsilon))

    return te.compute(lead, element, name="row_root", attrs={KEPT: 1})


@dataclass(frozen=True)
class Reduction:
    name: str
    over: Callable[..., Any]  # te's reducer
    pair: Callable[[Any, Any], Any]


SUM = Reduction("sum", te.sum, lambda a, b: a + b)
LARGEST = Reduction("max", te.comm_reducer(larger, lambda dtype: tirx.const(-math.inf, dtype), name="largest"), larger)
SMALLEST = Reduction(
    "min", te.comm_reducer(smaller, lambda dtype: tirx.const(math.inf, dtype), name="smallest"), smaller
)


def over_row(
    shape: Sequence[Any], reduction: Reduction, value: Callable[[tuple[Any, ...], Any], Any], lanes: int
) -> te.Tensor:
    """The reduction of value(row, k) over the last axis of a shape.

    Lane l takes k = l, l + lanes, ... : vector code, whose partial results are short and always in the same order. What
    does not fill a vector at the end is reduced by itself.
    """
    *lead, length = shape
    known = fixed(length)

    def along(extent: Any, element: Callable[..., Any], name: str) -> te.Tensor:
        k = te.reduce_axis((0, extent), name="k")
        return te.compute(lead, lambda *i: reduction.over(element(i, k), axis=k), name=f"row_{reduction.name}{name}")

    if isinstance(known, int) and known < 2 * lanes:
        return along(length, value, "")
    whole = fixed(tirx.floordiv(length, lanes))
    step = te.reduce_axis((0, whole), name="k")
    parts = te.compute(
        (*lead, lanes),
        lambda *i: reduction.over(value(i[:-1], step * lanes + i[-1]), axis=step),
        name=f"row_{reduction.name}_lanes",
    )
    total = along(lanes, lambda i, k: parts(*i, k), "")
    if isinstance(known, int) and known % lanes == 0:
        return total
    rest = along(tirx.floormod(length, lanes), lambda i, k: value(i, whole * lanes + k), "_rest")
    return te.compute(
        lead, lambda *i: reduction.pair(total(*i), rest(*i)), name=f"row_{reduction.name}_all", attrs={KEPT: 1}
    )


def reduced(reduction: Reduction, mean: bool = False) -> Kernel:
    """relax.sum and its like."""

    def kernel(at: Lowering, call: relax.Call) -> relax.Expr:
        (x,) = call.args
        if not is_float32(x):
            raise DeclinedError(f"{dtype_of(x)} is not float32")
        rank, kept = x.ty.ndim, bool(call.attrs.keepdims)
        axes = sorted(range(rank) if call.attrs.axis is None else [int(axis) % rank for axis in call.attrs.axis])
        name, in_rows = "mean" if mean else reduction.name, partial(_reduced_rows, reduction, mean)
        if rank > 1 and axes == [rank - 1]:
            return at.call(in_rows(kept, at.machine.vector_lanes), x, name=name)
        if axes and axes == list(range(rank - len(axes), rank)) and 0 not in shape_of(x):
            # One long row: added up in lanes, sums of many numbers are several times as precise.
            lead = shape_of(x)[: axes[0]]
            if reduction is not SUM and len(axes) > 1:
                # Exact in any order, so that threads share the rows before.
                x = at.emitter.emit(at.call(in_rows(False, at.machine.vector_lanes), x, name=name))
            rows = at.emitter.emit(relax.op.reshape(x, (*(lead or [1]), _product(shape_of(x)[axes[0] :]))))
            made = at.call(in_rows(False, at.machine.vector_lanes), rows, name=name)
            return relax.op.reshape(at.emitter.emit(made), (*lead, *([1] * len(axes) if kept else [])))
        return at.call(_reduced_axes(reduction, mean, kept, axes), x, name=name)

    return kernel


def _product(extents: Sequence[Any]) -> Any:
    return math.prod(extents[1:], start=extents[0])


def in_one_step(reduction: Reduction) -> Callable[[relax.BlockBuilder, relax.Call], relax.Expr]:
    """The same, for any type and axes."""

    def lowered(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        rank, kept = call.args[0].ty.ndim, bool(call.attrs.keepdims)
        axes = sorted(range(rank) if call.attrs.axis is None else [int(axis) % rank for axis in call.attrs.axis])
        compute = _reduced_axes(reduction, mean=False, kept=kept, axes=axes)
        return bb.call_te(compute, call.args[0], primfunc_name_hint=reduction.name)

    return lowered


def _reduced_rows(reduction: Reduction, mean: bool, kept: bool, lanes: int) -> Callable[[te.Tensor], te.Tensor]:
    def compute(a: te.Tensor) -> te.Tensor:
        total = over_row(a.shape, reduction, lambda i, k: a(*i, k), lanes)

        def element(*i: tirx.Var) -> Any:
            value = total(*(i[:-1] if kept else i))
            return value / tirx.Cast("float32", a.shape[-1]) if mean else value

        return te.compute((*a.shape[:-1], 1) if kept else a.shape[:-1], element, name="reduced")

    return compute


def _reduced_axes(reduction: Reduction, mean: bool, kept: bool, axes: list[int]) -> Callable[[te.Tensor], te.Tensor]:
    def compute(a: te.Tensor) -> te.Tensor:
        over = {axis: te.reduce_axis((0, a.shape[axis]), name=f"k{axis}") for axis in axes}
        left = [axis for axis in range(len(a.shape)) if axis not in over]

        def total(*i: tirx.Var) -> Any:
            places = {**dict(zip(left, i, strict=True)), **over}
            return reduction.over(a(*[places[axis] for axis in sorted(places)]), axis=list(over.values()))

        sums = te.compute([a.shape[axis] for axis in left], total, name="reduction")
        count: Any = f32(1.0)
        for axis in axes:
            count = count * tirx.Cast("float32", a.shape[axis])

        def element(*i: tirx.Var) -> Any:
            value = sums(*[i[axis] for axis in left] if kept else i)
            return value / count if mean else value

        shape = [1 if axis in over else size for axis, size in enumerate(a.shape)] if kept else sums.shape
        return te.compute(shape, element, name="reduced")

    return compute


def _last_axis(x: relax.Expr, axes: Any) -> None:
    if not is_float32(x):
        raise DeclinedError(f"{dtype_of(x)} is not float32")
    if [int(axis) % x.ty.ndim for axis in axes] != [x.ty.ndim - 1]:
        raise DeclinedError("it is not over the last axis alone")
    if x.ty.ndim < 2:
        raise DeclinedError("there is only one row")
