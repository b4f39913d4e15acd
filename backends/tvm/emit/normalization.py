"""Normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit.extents import product
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import narrowed, widened


def _layer_norm(op: Op) -> Result:
    axes = list(range(op.axis("axis", -1), op.rank()))
    epsilon = float(np.float32(op.attr("epsilon", 1e-5)))
    x, scale = widened(op, op.x(0)), widened(op, op.x(1))
    if op.wants(1) or op.wants(2) or not _spans(op, 1, axes):
        return _layer_norm_in_steps(op, x, scale, axes, epsilon)
    bias = widened(op, op.x(2)) if op.has(2) and _spans(op, 2, axes) else op.emit(relax.op.zeros_like(scale))
    normal = _over_rows(op, axes, x, [scale, bias], lambda *rows: relax.op.nn.layer_norm(*rows, epsilon))
    if op.has(2) and not _spans(op, 2, axes):
        normal = op.emit(relax.op.add(normal, widened(op, op.x(2))))
    return narrowed(op, normal)


def _over_rows(
    op: Op, axes: list[int], x: relax.Expr, weights: list[relax.Expr], make: Callable[..., relax.Expr]
) -> relax.Expr:
    """`make(x, *weights, axes)` over the last axis alone as it is; over several, or over all, as rows of one matrix:
    TVM's own lowering fails where no axis is left."""
    if len(axes) == 1 and op.rank() > 1:
        return op.emit(make(x, *weights, axes))
    shape = op.shape()
    rows, columns = op.settled(product(shape[: axes[0]])), op.settled(product(shape[axes[0] :]))
    flat = [op.reshape(weight, [columns]) for weight in weights]
    return op.reshape(op.emit(make(op.reshape(x, [rows, columns]), *flat, [1])), shape)


def _spans(op: Op, place: int, axes: list[int]) -> bool:
    """Whether a scale or bias has exactly the normalized shape, which Relax asks for."""
    own, shape = op.shape(place), op.shape()
    return len(own) == len(axes) and all(op.same(a, shape[axis]) for a, axis in zip(own, axes, strict=True))


def _layer_norm_in_steps(op: Op, x: relax.Expr, scale: relax.Expr, axes: list[int], epsilon: float) -> Result:
    """When mean and deviation are asked for as well, or scale and bias broadcast."""
    dtype = str(x.ty.dtype)
    mean = op.emit(relax.op.mean(x, axes, True))
    centred = op.emit(relax.op.subtract(x, mean))
    variance = op.emit(relax.op.mean(op.emit(relax.op.multiply(centred, centred)), axes, True))
    deviation = op.emit(relax.op.sqrt(op.emit(relax.op.add(variance, op.const(epsilon, dtype)))))
    inverse = op.emit(relax.op.divide(op.const(1, dtype), deviation))
    normal = op.emit(relax.op.multiply(op.emit(relax.op.multiply(centred, inverse)), scale))
    if op.has(2):
        normal = op.emit(relax.op.add(normal, widened(op, op.x(2))))
    return [narrowed(op, normal), mean if op.wants(1) else None, inverse if op.wants(2) else None]


def _rms_norm(op: Op) -> Result:
    axes = list(range(op.axis("axis", -1), op.rank()))
    epsilon = float(np.float32(op.attr("epsilon", 1e-5)))
    x, scale = widened(op, op.x(0)), widened(op, op.x(1))
    if not _spans(op, 1, axes):
        ones = op.emit(relax.op.ones(relax.ShapeExpr([x.ty.shape[axis] for axis in axes]), x.ty.dtype))
        normal = _over_rows(op, axes, x, [ones], lambda *rows: relax.op.nn.rms_norm(*rows, epsilon))
        return narrowed(op, op.emit(relax.op.multiply(normal, scale)))
    return narrowed(op, _over_rows(op, axes, x, [scale], lambda *rows: relax.op.nn.rms_norm(*rows, epsilon)))


def _batch_norm(op: Op) -> Result:
    """x * a + b with a = scale / sqrt(var + eps) and b = bias - mean * a, both for each channel."""
    if op.attr("training_mode", 0):
        op.refuse("in training mode")
    epsilon = float(np.float32(op.attr("epsilon", 1e-5)))
    channels = [1, op.shape(1)[0], *[1] * (op.rank() - 2)] if op.rank() > 1 else op.shape(1)
    values = [op.constant(place) for place in range(1, 5)]
    x = widened(op, op.x(0))
    dtype = str(x.ty.dtype)
    if all(value is not None for value in values):
        scale, bias, mean, variance = (value.astype(np.float64) for value in values if value is not None)
        factor = scale / np.sqrt(variance + epsilon)
        a = op.const(factor.reshape(channels), dtype)
        b = op.const((bias - mean * factor).reshape(channels), dtype)
    else:
        scale, bias, mean, variance = (op.reshape(widened(op, op.x(place)), channels) for place in range(1, 5))
        deviation = op.emit(relax.op.sqrt(op.emit(relax.op.add(variance, op.const(epsilon, dtype)))))
        a = op.emit(relax.op.divide(scale, deviation))
        b = op.emit(relax.op.subtract(bias, op.emit(relax.op.multiply(mean, a))))
    return narrowed(op, op.emit(relax.op.add(op.emit(relax.op.multiply(x, a)), b)))


def _group_norm(op: Op) -> Result:
    return _over_groups(op, op.attr("num_groups"))


def _instance_norm(op: Op) -> Result:
    channels = op.shape()[1]
    if not isinstance(channels, int):
        op.refuse("over a dynamic number of channels")
    return _over_groups(op, channels)


def _over_groups(op: Op, groups: int) -> Result:
    x, scale, bias = (widened(op, op.x(place)) for place in range(3))
    axes, epsilon = list(range(2, op.rank())), float(np.float32(op.attr("epsilon", 1e-5)))
    return narrowed(op, op.emit(relax.op.nn.group_norm(x, scale, bias, groups, 1, axes, epsilon)))


def _lp_norm(op: Op) -> Result:
    axis, p = op.axis("axis", -1), op.attr("p", 2)
    x = widened(op, op.x())
    if p == 1:
        total = op.emit(relax.op.sum(op.emit(relax.op.abs(x)), [axis], True))
    else:
        total = op.emit(relax.op.sqrt(op.emit(relax.op.sum(op.emit(relax.op.multiply(x, x)), [axis], True))))
    zero, one = op.const(0, str(x.ty.dtype)), op.const(1, str(x.ty.dtype))
    safe = op.emit(relax.op.where(op.emit(relax.op.equal(total, zero)), one, total))
    return narrowed(op, op.emit(relax.op.divide(x, safe)))


def _mean_variance_norm(op: Op) -> Result:
    axes = [axis % op.rank() for axis in op.attr("axes", [0, 2, 3])]
    x = widened(op, op.x())
    dtype = str(x.ty.dtype)
    centred = op.emit(relax.op.subtract(x, op.emit(relax.op.mean(x, axes, True))))
    variance = op.emit(relax.op.mean(op.emit(relax.op.multiply(centred, centred)), axes, True))
    deviation = op.emit(relax.op.add(op.emit(relax.op.sqrt(variance)), op.const(1e-9, dtype)))
    return narrowed(op, op.emit(relax.op.divide(centred, deviation)))


def _lrn(op: Op) -> Result:
    """Each channel by the squares of its neighbours."""
    size, channels = op.attr("size"), op.shape()[1]
    alpha, beta, bias = op.attr("alpha", 1e-4), op.attr("beta", 0.75), op.attr("bias", 1.0)
    before, after = math.floor((size - 1) / 2), math.ceil((size - 1) / 2)
    if not isinstance(channels, int):
        op.refuse("over a dynamic number of channels")

    def compute(data: te.Tensor) -> te.Tensor:
        over = te.reduce_axis((0, before + after + 1), name="k")

        def neighbour(*i: Any) -> Any:
            place = i[1] + over - before
            inside = tirx.all(place >= 0, place < channels)
            value = data(i[0], tirx.max(tirx.min(place, channels - 1), 0), *i[2:])
            return tirx.if_then_else(inside, value * value, tirx.const(0, data.dtype))

        squares = te.compute(data.shape, lambda *i: te.sum(neighbour(*i), axis=over), name="T_squares")

        def element(*i: Any) -> Any:
            base = tirx.const(bias, data.dtype) + tirx.const(alpha / size, data.dtype) * squares(*i)
            return data(*i) / tirx.pow(base, tirx.const(beta, data.dtype))

        return te.compute(data.shape, element, name="T_lrn")

    return narrowed(op, op.te(compute, widened(op, op.x())))


EMIT: dict[str, Emit] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_norm,
    "MeanVarianceNormalization": _mean_variance_norm,
    "RMSNormalization": _rms_norm,
}
