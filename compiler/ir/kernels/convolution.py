"""Convolutions and their transposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Tensor, in_torch
from compiler.ir.kernels.windows import Windows, windows_of

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: torch.conv_transpose1d,
    2: torch.conv_transpose2d,
    3: torch.conv_transpose3d,
}


def _pad_around(x: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    # torch lists the last axis first; negative widths crop.
    widths = [width for pair in zip(reversed(before), reversed(after), strict=True) for width in pair]
    return torch.nn.functional.pad(x, widths) if any(widths) else x


def _convolution(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    windows = windows_of(call, weight.shape[2:], x.shape[2:])
    if _is_pointwise(call, windows):
        return _pointwise(x, weight, bias, windows.strides)
    rank = len(windows.kernel)
    padding: Sequence[int] = windows.before
    if windows.before != windows.after:
        x, padding = _pad_around(x, windows.before, windows.after), (0,) * rank
    return _CONVOLUTIONS[rank](x, weight, bias, windows.strides, padding, windows.dilations, call["group"])


def _is_pointwise(call: Call, windows: Windows) -> bool:
    return call["group"] == 1 and set(windows.kernel) == {1} and not any((*windows.before, *windows.after))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, strides: Sequence[int]) -> Tensor:
    """A 1x1 convolution as a matrix product, several times faster than torch's own in float64."""
    x = x[(slice(None), slice(None), *(slice(None, None, stride) for stride in strides))]
    flat = torch.matmul(weight.reshape(weight.shape[:2]), x.reshape(*x.shape[:2], -1))
    if bias is not None:
        flat = flat + bias[:, None]
    return flat.reshape(x.shape[0], weight.shape[0], *x.shape[2:])


def _transposed(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    kernel = weight.shape[2:]
    strides = tuple(call.get("strides") or (1,) * rank)
    dilations = tuple(call.get("dilations") or (1,) * rank)
    extra = tuple(call.get("output_padding") or (0,) * rank)
    full = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, call["group"], dilations)
    full = _pad_around(full, (0,) * rank, extra)
    before, after = _transposed_pads(call, x.shape[2:], full.shape[2:], kernel, strides, dilations)
    full = _pad_around(full, [-width for width in before], [-width for width in after])
    return full if bias is None else full + bias.reshape(-1, *(1,) * rank)


def _transposed_pads(
    call: Call,
    sizes: Sequence[int],
    full: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    rank, mode = len(sizes), call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if wanted is None and mode not in ("SAME_UPPER", "SAME_LOWER"):
        pads = list(call.get("pads") or (0,) * 2 * rank) if mode != "VALID" else [0] * 2 * rank
        return pads[:rank], pads[rank:]
    if wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    surplus = [have - want for have, want in zip(full, wanted[-rank:], strict=True)]
    half = [width // 2 for width in surplus]
    rest = [width - low for width, low in zip(surplus, half, strict=True)]
    # ONNX puts the odd element at the end for SAME_UPPER only.
    return (half, rest) if mode == "SAME_UPPER" else (rest, half)


def _integer(call: Call, x: Array, weight: Array, x_zero: Array | None = None, w_zero: Array | None = None) -> Array:
    wide, filters = x.astype(np.float64), weight.astype(np.float64)
    if x_zero is not None:
        wide = wide - x_zero.astype(np.float64)
    if w_zero is not None:
        shape = (-1, *(1,) * (weight.ndim - 1)) if w_zero.ndim else ()
        filters = filters - w_zero.astype(np.float64).reshape(shape)
    # Products of bytes and their sums are exact in float64.
    result: Any = CONVOLVE(call, wide, filters)
    return np.asarray(result, np.int32)


CONVOLVE = in_torch(_convolution)

TABLE: dict[str, Kernel] = {
    "Conv": CONVOLVE,
    "ConvInteger": _integer,
    "ConvTranspose": in_torch(_transposed),
}
