"""What every kernel is called with, and the way between numpy and torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch

from compiler.contracts import Array

Tensor = torch.Tensor
Result = Any  # one array, or a tuple with one entry for each output
Kernel = Callable[..., Result]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALF = np.dtype(np.float16)


@dataclass(frozen=True)
class Call:
    """A node as a kernel sees it: attributes with the schema's defaults, and the version that defines it.

    `outputs` counts up to the last output that the node has; `element_type` maps an ONNX element type to the one to
    compute in, which is float64 for every float when the evaluation is precise.
    """

    op_type: str
    since: int
    attributes: Mapping[str, Any]
    outputs: int
    element_type: Callable[[int], np.dtype[Any]]

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


def is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or array.dtype == BFLOAT16


def ints(array: Array | None) -> list[int] | None:
    """A shape-like input as Python integers."""
    return None if array is None else [int(element) for element in np.asarray(array).reshape(-1)]


def to_torch(array: Array) -> Tensor:
    """Shares memory where it can. Low precision is widened to float32, in which it is computed."""
    if array.dtype in (BFLOAT16, HALF):
        array = array.astype(np.float32)
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = np.asarray(_Writeable(array))
    return torch.from_numpy(array)


class _Writeable:
    """torch warns about read-only memory such as mapped weights; kernels never write into their inputs."""

    def __init__(self, array: Array) -> None:
        address, _ = array.__array_interface__["data"]
        self._keep_alive = array
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def to_numpy(tensor: Tensor, dtype: np.dtype[Any]) -> Array:
    array: Array = tensor.numpy()
    return array if array.dtype == dtype else array.astype(dtype)


_NARROW = {BFLOAT16: torch.bfloat16, HALF: torch.float16}


def rounded(tensor: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """What is left of an intermediate result where it is kept in this type; still in the type that is computed in."""
    narrow = _NARROW.get(dtype)
    return tensor if narrow is None else tensor.to(narrow).to(tensor.dtype)


def in_torch(function: Callable[..., Tensor | tuple[Tensor | None, ...]]) -> Kernel:
    """A kernel from a function on tensors. Float outputs have the element type of the first input."""

    def kernel(call: Call, *inputs: Array | None) -> Result:
        first = next(array for array in inputs if array is not None)
        result = function(call, *(None if array is None else to_torch(array) for array in inputs))
        if isinstance(result, tuple):
            return tuple(None if tensor is None else _like(tensor, first) for tensor in result)
        return _like(result, first)

    return kernel


def _like(tensor: Tensor, array: Array) -> Array:
    narrow = is_float(array) and tensor.is_floating_point()
    return to_numpy(tensor, array.dtype) if narrow else tensor.numpy()


def normalize_axis(axis: int, rank: int) -> int:
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise ValueError(f"axis {axis} is out of range for {rank} dimensions")
    return axis % rank if rank else 0


def normalize_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(normalize_axis(int(axis), rank) for axis in axes)
