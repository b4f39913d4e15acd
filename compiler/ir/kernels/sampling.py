"""Sampling at points of a grid, which ONNX has taken over from PyTorch."""

from __future__ import annotations

import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Tensor, in_torch, ints, to_numpy, to_torch

_MODES = {"linear": "bilinear", "cubic": "bicubic"}  # what opset 20 renamed


def _grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    return torch.nn.functional.grid_sample(
        x,
        grid,
        mode=_MODES.get(call["mode"], call["mode"]),
        padding_mode=call["padding_mode"],
        align_corners=bool(call["align_corners"]),
    )


def _affine_grid(call: Call, theta: Array, size: Array) -> Array:
    grid = torch.nn.functional.affine_grid(to_torch(theta), ints(size) or [], align_corners=bool(call["align_corners"]))
    return to_numpy(grid, theta.dtype)


TABLE: dict[str, Kernel] = {"AffineGrid": _affine_grid, "GridSample": in_torch(_grid_sample)}
