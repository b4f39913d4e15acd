"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Result, Tensor, in_torch, normalize_axis, to_numpy, to_torch


def _layer_norm(call: Call, x: Array, scale: Array, bias: Array | None = None) -> tuple[Array, Array, Array]:
    axis = normalize_axis(call["axis"], x.ndim)
    axes = tuple(range(axis, x.ndim))
    stash = call.element_type(call["stash_type"])
    wide = to_torch(x)
    mean = wide.mean(dim=axes, keepdim=True)
    centered = wide - mean
    inverse = torch.rsqrt(centered.square().mean(dim=axes, keepdim=True) + call["epsilon"])
    y = to_numpy(centered * inverse, x.dtype) * scale
    return (y if bias is None else y + bias), to_numpy(mean, stash), to_numpy(inverse, stash)


def _rms_norm(call: Call, x: Array, scale: Array) -> Array:
    axes = tuple(range(normalize_axis(call["axis"], x.ndim), x.ndim))
    wide = to_torch(x)
    inverse = torch.rsqrt(wide.square().mean(dim=axes, keepdim=True) + call["epsilon"])
    return np.asarray(to_numpy(wide * inverse, x.dtype).astype(scale.dtype, copy=False) * scale)


def _per_channel(parameter: Tensor, rank: int) -> Tensor:
    return parameter.reshape(-1, *(1,) * (rank - 2))


def _batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Any:
    if not call.get("training_mode", 0):
        factor = scale / torch.sqrt(variance + call["epsilon"])
        shift = bias - mean * factor
        return x * _per_channel(factor, x.ndim) + _per_channel(shift, x.ndim)
    axes = (0, *range(2, x.ndim))
    batch_mean, batch_variance = x.mean(dim=axes), x.var(dim=axes, unbiased=False)
    factor = _per_channel(scale / torch.sqrt(batch_variance + call["epsilon"]), x.ndim)
    y = (x - _per_channel(batch_mean, x.ndim)) * factor + _per_channel(bias, x.ndim)
    keep = call["momentum"]
    return y, mean * keep + batch_mean * (1 - keep), variance * keep + batch_variance * (1 - keep)


def _standardized(x: Tensor, epsilon: float) -> Tensor:
    """Zero mean and unit variance over the last axis."""
    centered = x - x.mean(dim=-1, keepdim=True)
    return centered * torch.rsqrt(centered.square().mean(dim=-1, keepdim=True) + epsilon)


def _instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    flat = _standardized(x.reshape(*x.shape[:2], -1), call["epsilon"]).reshape(x.shape)
    return flat * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)


def _group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = call["num_groups"]
    y = _standardized(x.reshape(x.shape[0], groups, -1), call["epsilon"]).reshape(x.shape)
    if call.since < 21:
        # Until then there was one scale for each group.
        scale, bias = (parameter.repeat_interleave(x.shape[1] // groups) for parameter in (scale, bias))
    return y * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)


def _local_response(call: Call, x: Tensor) -> Result:
    size = call["size"]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    channels = x.shape[1]
    total = torch.zeros_like(x)
    for shift in range(-before, after + 1):
        low, high = max(0, -shift), min(channels, channels - shift)
        if low < high:
            total[:, low:high] += x[:, low + shift : high + shift].square()
    return x / (call["bias"] + call["alpha"] / size * total) ** call["beta"]


def _lp_norm(call: Call, x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, ord=call["p"], dim=normalize_axis(call["axis"], x.ndim), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


TABLE: dict[str, Kernel] = {
    "BatchNormalization": in_torch(_batch_norm),
    "GroupNormalization": in_torch(_group_norm),
    "InstanceNormalization": in_torch(_instance_norm),
    "LRN": in_torch(_local_response),
    "LayerNormalization": _layer_norm,
    "LpNormalization": in_torch(_lp_norm),
    "RMSNormalization": _rms_norm,
}
