"""Attention and rotary position embedding, as opset 23 to 25 define them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Tensor, rounded, to_numpy, to_torch

_BEFORE_SOFTCAP, _AFTER_SOFTCAP, _WITH_BIAS, _PROBABILITIES = range(4)


def _attention(
    call: Call,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    past_key: Array | None = None,
    past_value: Array | None = None,
    valid_keys: Array | None = None,
) -> tuple[Array, ...]:
    query, key, value = _heads(call, q, "q"), _heads(call, k, "kv"), _heads(call, v, "kv")
    past = 0
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        key, value = torch.cat([to_torch(past_key), key], 2), torch.cat([to_torch(past_value), value], 2)
    present = key, value
    if query.shape[1] % key.shape[1]:
        raise ValueError(f"{query.shape[1]} query heads cannot share {key.shape[1]} key heads")
    key, value = (side.repeat_interleave(query.shape[1] // side.shape[1], dim=1) for side in (key, value))
    bias = rounded(_bias(call, query, key, mask, past, valid_keys), q.dtype)
    probabilities, shown = _probabilities(call, query, key, bias, q.dtype)
    y = torch.matmul(rounded(probabilities, q.dtype), value)
    if q.ndim == 3:
        y = y.transpose(1, 2).flatten(2)
    return tuple(to_numpy(tensor, q.dtype) for tensor in (y, *present, shown))


def _heads(call: Call, x: Array, side: str) -> Tensor:
    tensor = to_torch(x)
    if tensor.ndim == 4:
        return tensor
    batch, length, _ = tensor.shape
    return tensor.reshape(batch, length, call[f"{side}_num_heads"], -1).transpose(1, 2)


def _probabilities(call: Call, query: Tensor, key: Tensor, bias: Tensor, dtype: np.dtype[Any]) -> tuple[Tensor, Tensor]:
    """The attention weights, and the intermediate result that the node also asks for.

    In low precision every step is rounded as the operators are that ONNX defines this one with.
    """
    scale = call.get("scale")
    root = float(np.asarray(math.sqrt(1 / math.sqrt(query.shape[-1]) if scale is None else scale), dtype))
    factors = rounded(query * root, dtype), rounded(key.transpose(-1, -2) * root, dtype)
    raw = rounded(torch.matmul(*factors), dtype)
    cap = call["softcap"]
    capped = rounded(torch.tanh(raw / cap) * cap, dtype) if cap > 0 else raw
    scores = rounded(capped + bias, dtype)
    # A row without any key is zero, not NaN.
    masked = torch.all(bias == -math.inf, dim=-1, keepdim=True)
    weights = torch.softmax(scores, dim=-1).masked_fill(masked, 0)
    shown = {_BEFORE_SOFTCAP: raw, _AFTER_SOFTCAP: capped, _WITH_BIAS: scores, _PROBABILITIES: weights}
    return weights, shown[call["qk_matmul_output_mode"]]


def _bias(call: Call, query: Tensor, key: Tensor, mask: Array | None, past: int, valid_keys: Array | None) -> Tensor:
    """What is added to the scores, with -inf where a query must not look."""
    length, total = query.shape[2], key.shape[2]
    valid = None if valid_keys is None else torch.from_numpy(valid_keys.astype(np.int64)).reshape(-1, 1, 1, 1)
    offset = past if valid is None or past else valid - length
    distance = torch.arange(total) - torch.arange(length)[:, None] - offset
    allowed = torch.ones_like(distance, dtype=torch.bool)
    if call["is_causal"]:
        allowed &= distance <= 0
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if left >= 0:
        allowed &= -distance <= left
    if right >= 0:
        allowed &= distance <= right
    if valid is not None:
        allowed = allowed & (torch.arange(total) < valid)
    bias = torch.zeros(allowed.shape, dtype=query.dtype).masked_fill(~allowed, -math.inf)
    return bias if mask is None else bias + _mask_bias(mask, total, query.dtype)


def _mask_bias(mask: Array, total: int, dtype: torch.dtype) -> Tensor:
    given = to_torch(mask)
    if given.dtype == torch.bool:
        given = torch.zeros(given.shape, dtype=dtype).masked_fill(~given, -math.inf)
    # A mask may end early; the keys beyond it are not looked at.
    return torch.nn.functional.pad(given, (0, total - given.shape[-1]), value=-math.inf)


def _rotary(call: Call, x: Array, cosines: Array, sines: Array, positions: Array | None = None) -> Array:
    tensor = _rotary_heads(call, x)
    width = call["rotary_embedding_dim"] or tensor.shape[-1]
    cos, sin = to_torch(cosines), to_torch(sines)
    if positions is not None:
        places = torch.from_numpy(positions.astype(np.int64))
        cos, sin = cos[places], sin[places]
    # One angle for each batch, position and pair; the same for all heads.
    cos, sin = cos[..., None, : width // 2], sin[..., None, : width // 2]
    turned, rest = tensor[..., :width], tensor[..., width:]
    if call["interleaved"]:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned.chunk(2, dim=-1)
    real, imaginary = cos * first - sin * second, sin * first + cos * second
    pairs = torch.stack([real, imaginary], dim=-1) if call["interleaved"] else torch.cat([real, imaginary], dim=-1)
    result = torch.cat([pairs.reshape(turned.shape), rest], dim=-1)
    return to_numpy(result.transpose(1, 2) if x.ndim == 4 else result.reshape(x.shape), x.dtype)


def _rotary_heads(call: Call, x: Array) -> Tensor:
    """Batch, position, head, element."""
    tensor = to_torch(x)
    if tensor.ndim == 4:
        return tensor.transpose(1, 2)
    return tensor.reshape(*tensor.shape[:2], call["num_heads"], -1)


TABLE: dict[str, Kernel] = {"Attention": _attention, "RotaryEmbedding": _rotary}
