"""Softmax and the normalizations over the last axis: reductions over one row, and a result for each of its elements.

The blocks are marked so that one loop over the rows holds them all (schedule/rows.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.lower.kernels.call import DeclinedError, Lowering
from backends.tvm.lower.relax_tools import dtype_of, is_float32
from backends.tvm.lower.vector_math import exp, f32

# The value is worth keeping for the rest of the row instead of being computed at each use.
KEPT = "plumbline.kept"


def softmax(at: Lowering, call: relax.Call) -> relax.Expr:
    (x,) = call.args
    _last_axis(x, [call.attrs.axis])

    def compute(a: te.Tensor) -> te.Tensor:
        peak = _row(a, te.max, lambda i, k: a(*i, k), "row_max")
        # The largest of a row of -inf is -inf, and -inf less -inf NaN: what ONNX and PyTorch answer.
        powers = te.compute(a.shape, lambda *i: exp(a(*i) - peak(*i[:-1])), name="powers", attrs={KEPT: 1})
        total = _row(a, te.sum, lambda i, k: powers(*i, k), "row_sum")
        return te.compute(a.shape, lambda *i: powers(*i) / total(*i[:-1]), name="softmax")

    return at.call(compute, x, name="softmax")


def layer_norm(at: Lowering, call: relax.Call) -> relax.Expr:
    x = call.args[0]
    _last_axis(x, call.attrs.axes)
    epsilon, scaled, shifted = float(call.attrs.epsilon), bool(call.attrs.scale), bool(call.attrs.center)

    def compute(a: te.Tensor, gamma: te.Tensor, beta: te.Tensor) -> te.Tensor:
        count = tirx.Cast("float32", a.shape[-1])
        total = _row(a, te.sum, lambda i, k: a(*i, k), "row_sum")
        mean = te.compute(a.shape[:-1], lambda *i: total(*i) / count, name="row_mean")

        def squared(i: tuple[Any, ...], k: Any) -> Any:
            return (a(*i, k) - mean(*i)) * (a(*i, k) - mean(*i))

        squares = _row(a, te.sum, squared, "row_squares")
        root = te.compute(
            a.shape[:-1], lambda *i: f32(1.0) / tirx.sqrt(squares(*i) / count + f32(epsilon)), name="row_root"
        )

        def element(*i: tirx.Var) -> Any:
            value = (a(*i) - mean(*i[:-1])) * root(*i[:-1])
            value = value * gamma(i[-1]) if scaled else value
            return value + beta(i[-1]) if shifted else value

        return te.compute(a.shape, element, name="layer_norm")

    return at.call(compute, *call.args[:3], name="layer_norm")


def rms_norm(at: Lowering, call: relax.Call) -> relax.Expr:
    x = call.args[0]
    _last_axis(x, call.attrs.axes)
    epsilon = float(call.attrs.epsilon)

    def compute(a: te.Tensor, gamma: te.Tensor) -> te.Tensor:
        count = tirx.Cast("float32", a.shape[-1])
        squares = _row(a, te.sum, lambda i, k: a(*i, k) * a(*i, k), "row_squares")
        root = te.compute(
            a.shape[:-1], lambda *i: f32(1.0) / tirx.sqrt(squares(*i) / count + f32(epsilon)), name="row_root"
        )
        return te.compute(a.shape, lambda *i: a(*i) * root(*i[:-1]) * gamma(i[-1]), name="rms_norm")

    return at.call(compute, *call.args[:2], name="rms_norm")


def _row(
    a: te.Tensor, reduction: Callable[..., Any], value: Callable[[tuple[Any, ...], Any], Any], name: str
) -> te.Tensor:
    k = te.reduce_axis((0, a.shape[-1]), name="k")
    return te.compute(a.shape[:-1], lambda *i: reduction(value(i, k), axis=k), name=name)


def _last_axis(x: relax.Expr, axes: Any) -> None:
    if not is_float32(x):
        raise DeclinedError(f"{dtype_of(x)} is not float32")
    if [int(axis) % x.ty.ndim for axis in axes] != [x.ty.ndim - 1]:
        raise DeclinedError("it is not over the last axis alone")
    if x.ty.ndim < 2:
        raise DeclinedError("there is only one row")
