"""Reductions, running sums, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import (
    BFLOAT16,
    HALF,
    Call,
    Kernel,
    Result,
    Tensor,
    in_torch,
    ints,
    is_float,
    normalize_axes,
    normalize_axis,
)

Reduction = Callable[[Array, tuple[int, ...]], Array]


def _reducing(function: Reduction) -> Kernel:
    def kernel(call: Call, x: Array, axes: Array | None = None) -> Array:
        chosen = ints(axes) if axes is not None else call.get("axes")
        if not chosen:
            chosen = [] if call.get("noop_with_empty_axes", 0) else list(range(x.ndim))
        where = normalize_axes(chosen, x.ndim)
        # Low precision accumulates in float32, as every runtime does.
        wide = x.astype(np.float32) if x.dtype in (HALF, BFLOAT16) else x
        result = np.asarray(function(wide, where)).astype(x.dtype, copy=False)
        return result if call["keepdims"] else np.squeeze(result, where)

    return kernel


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.sum(x, axis=axes, keepdims=True, dtype=x.dtype))


def _mean(x: Array, axes: tuple[int, ...]) -> Result:
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    if is_float(x):
        return _sum(x, axes) / np.asarray(count, x.dtype)
    return np.asarray(np.trunc(_sum(x, axes) / count))


def _extreme(find: np.ufunc, smallest: bool) -> Reduction:
    def reduction(x: Array, axes: tuple[int, ...]) -> Array:
        start = _lowest(x.dtype) if smallest else _highest(x.dtype)
        return np.asarray(find.reduce(x, axis=axes, keepdims=True, initial=start))

    return reduction


def _lowest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        return False
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        return True
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


def _log_sum_exp(x: Array, axes: tuple[int, ...]) -> Result:
    if not axes:
        return x
    if not is_float(x):
        return np.log(np.sum(np.exp(x.astype(np.float64)), axis=axes, keepdims=True))
    peak = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    finite = np.where(np.isfinite(peak), peak, np.zeros_like(peak))
    return np.log(_sum(np.exp(x - finite), axes)) + finite


def _product(x: Array, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.prod(x, axis=axes, keepdims=True, dtype=x.dtype))


def _cumulative(call: Call, x: Array, axis: Array) -> Array:
    along = normalize_axis(int(axis.reshape(-1)[0]), x.ndim)
    values = np.flip(x, along) if call["reverse"] else x
    if call["exclusive"]:
        zeros = np.zeros_like(np.take(values, [0] if x.shape[along] else [], axis=along))
        values = np.concatenate([zeros, np.take(values, np.arange(x.shape[along] - 1), axis=along)], axis=along)
    wide = values.astype(np.float32) if x.dtype in (HALF, BFLOAT16) else values
    total = np.cumsum(wide, axis=along, dtype=wide.dtype).astype(x.dtype, copy=False)
    return np.flip(total, along) if call["reverse"] else total


def _softmax(function: Callable[..., Tensor]) -> Kernel:
    def compute(call: Call, x: Tensor) -> Tensor:
        axis = normalize_axis(call["axis"], x.ndim)
        if call.since >= 13:
            return function(x, dim=axis)
        # Before opset 13 everything from the axis on was one row.
        rows = x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), -1)
        return function(rows, dim=1).reshape(x.shape)

    return in_torch(compute)


TABLE: dict[str, Kernel] = {
    "CumSum": _cumulative,
    "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceL1": _reducing(lambda x, axes: _sum(np.abs(x), axes)),
    "ReduceL2": _reducing(lambda x, axes: np.sqrt(_sum(np.square(x), axes))),
    "ReduceLogSum": _reducing(lambda x, axes: np.log(_sum(x, axes))),
    "ReduceLogSumExp": _reducing(_log_sum_exp),
    "ReduceMax": _reducing(_extreme(np.maximum, smallest=True)),
    "ReduceMean": _reducing(_mean),
    "ReduceMin": _reducing(_extreme(np.minimum, smallest=False)),
    "ReduceProd": _reducing(_product),
    "ReduceSum": _reducing(_sum),
    "ReduceSumSquare": _reducing(lambda x, axes: _sum(np.square(x), axes)),
    "Softmax": _softmax(torch.softmax),
}
