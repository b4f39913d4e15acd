"""Between torch tensors and numpy arrays, bfloat16 included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch

from compiler.contracts import DTYPES, Array, TensorSpec

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES if hasattr(torch, name)}
_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def torch_dtype_name(dtype: torch.dtype) -> str:
    return _NAMES.get(dtype, str(dtype).removeprefix("torch."))


def to_numpy(tensor: torch.Tensor) -> Array:
    """A copy that shares nothing with the tensor, so that later in-place writes cannot reach it."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return np.array(tensor.numpy(), copy=True)


def to_torch(array: Any) -> torch.Tensor:
    """A fresh tensor."""
    array = np.array(array, copy=True, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def tensor_specs(tensors: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    """What a set of tensors says about the inputs: fixed shapes."""
    return tuple(
        TensorSpec(name, torch_dtype_name(tensor.dtype), tuple(tensor.shape)) for name, tensor in tensors.items()
    )
