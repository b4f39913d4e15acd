"""Arrays that lie on a GPU, whoever made them: where they are, as DLPack or the CUDA array interface tells it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from compiler.contracts import dtype_name
from compiler.errors import UsageError

_ON_GPU = (2, 13)  # kDLCUDA, kDLCUDAManaged
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}  # the codes of DLDataTypeCode


@dataclass(frozen=True)
class DeviceArray:
    """In C order. It is valid for as long as `keep` lives."""

    address: int
    dtype: str
    shape: tuple[int, ...]
    size: int  # in bytes
    keep: Any


def read(name: str, array: Any, device: int, stream: int, wait: Callable[[int], None]) -> DeviceArray:
    """Where an array lies. What its owner still has to write there is ordered before what comes on `stream`."""
    if hasattr(array, "__dlpack__"):
        return _from_dlpack(name, array, device, stream)
    if hasattr(array, "__cuda_array_interface__"):
        return _from_interface(name, array, wait)
    raise UsageError(
        "input-mismatch",
        f"'{name}' is a {type(array).__name__}, which does not say where it lies on the GPU",
        hint="an array with __dlpack__ or __cuda_array_interface__, as torch and cupy have them",
    )


# -- the CUDA array interface -------------------------------------------------------------------------------------


def _from_interface(name: str, array: Any, wait: Callable[[int], None]) -> DeviceArray:
    told = array.__cuda_array_interface__
    dtype, shape = np.dtype(told["typestr"]), tuple(told["shape"])
    steps = told.get("strides")
    if steps is not None:
        _refuse_gaps(name, shape, [step / dtype.itemsize for step in steps])
    if told.get("stream") is not None:
        wait(told["stream"])
    return DeviceArray(told["data"][0], dtype_name(dtype), shape, prod(shape) * dtype.itemsize, array)


# -- DLPack -------------------------------------------------------------------------------------------------------


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("number", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor, with which DLManagedTensor begins."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("rank", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


def _from_dlpack(name: str, array: Any, device: int, stream: int) -> DeviceArray:
    kind, number = array.__dlpack_device__()
    if int(kind) not in _ON_GPU or number != device:
        raise UsageError(
            "input-mismatch", f"'{name}' does not lie on GPU {device}", hint="move it there, or call the session itself"
        )
    # Nobody takes the capsule over: when it goes, it tells the owner that the array is no longer in use.
    capsule = array.__dlpack__(stream=stream)
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    told = _Tensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(told.shape[axis] for axis in range(told.rank))
    if told.strides:
        _refuse_gaps(name, shape, [told.strides[axis] for axis in range(told.rank)])
    dtype = _KINDS.get(told.dtype.code, "unknown") + ("" if told.dtype.code == 6 else str(told.dtype.bits))
    size = prod(shape) * told.dtype.bits // 8
    return DeviceArray((told.data or 0) + told.offset, dtype, shape, size, capsule)


def _refuse_gaps(name: str, shape: tuple[int, ...], steps: list[float]) -> None:
    """`steps` count elements; where an axis has one place, or there is nothing at all, they mean nothing."""
    wanted = 1
    for size, step in reversed(list(zip(shape, steps, strict=True))):
        if size > 1 and 0 not in shape and step != wanted:
            raise UsageError("input-mismatch", f"'{name}' is not contiguous", hint="copy it first: x.contiguous()")
        wanted *= size
