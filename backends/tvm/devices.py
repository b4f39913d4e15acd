"""Where kernels run: on the CPU, in the caller's own memory, or on a GPU, with copies."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from backends.tvm import options as settings
from backends.tvm import runtime
from compiler.contracts import Array
from compiler.errors import UnavailableError

_ALIGNMENT = 64
_POOLED = 2  # the allocator that keeps memory for the next call
# DLPack's numbers of devices, and TVM's of what can be asked of one.
_CPU, _CUDA = 1, 2
_EXISTS, _THREADS, _WARP, _SHARED, _ARCHITECTURE = range(5)


class Cpu:
    name = "cpu"
    memory = (_CPU, 0, _POOLED)

    def put(self, array: Array) -> Any:
        return runtime.ffi().from_dlpack(array)

    def take(self, tensor: Any) -> Array:
        return np.from_dlpack(tensor)


class Copying:
    """What runs in a memory of its own."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.memory = (number, 0, _POOLED, *Cpu.memory)  # sizes are worked out on the CPU
        ffi = runtime.ffi()
        self._device = ffi.device(name, 0)
        self._allocate = ffi.get_global_func("runtime.TVMTensorAllocWithScope")
        self._write = ffi.get_global_func("runtime.TVMTensorCopyFromBytes")
        self._read = ffi.get_global_func("runtime.TVMTensorCopyToBytes")

    def put(self, array: Array) -> Any:
        ffi, whole = runtime.ffi(), np.ascontiguousarray(array).reshape(array.shape)
        tensor = self._allocate(ffi.Shape(array.shape), ffi.dtype(array.dtype.name), self._device, None)
        if array.size:
            self._write(tensor, whole.ctypes.data_as(ctypes.c_void_p), whole.nbytes)
        return tensor

    def take(self, tensor: Any) -> Array:
        array = np.empty(tuple(tensor.shape), str(tensor.dtype))
        if array.size:
            self._read(tensor, array.ctypes.data_as(ctypes.c_void_p), array.nbytes)
        return array


Device = Cpu | Copying


def chosen(options: Mapping[str, Any], facts: Mapping[str, Any]) -> Device:
    """The device that the options name, if it is here and what the artifact was made for."""
    if not settings.on_gpu(options):
        return Cpu()
    here = gpu()["arch"]
    if here != facts["gpu"]:
        raise UnavailableError(
            "other-gpu",
            f"this artifact holds code for a GPU of {facts['gpu']}",
            why=f"this one is {here}",
            hint="compile the model again on this machine",
        )
    return Copying("cuda", _CUDA)


def missing_gpu() -> str | None:
    """Why there is no GPU to run on."""
    reason = _load_cuda()
    return "its driver finds none" if reason is None and not _told(_EXISTS) else reason


def gpu() -> dict[str, Any]:
    """What code for the GPU depends on, in the words of TVM's targets."""
    reason = missing_gpu()
    if reason is not None:
        raise UnavailableError(
            "target-unavailable", "tvm has no GPU here", why=reason, hint="compile without --option tvm.target=cuda"
        )
    return {
        "kind": "cuda",
        "arch": "sm_" + str(_told(_ARCHITECTURE)).replace(".", ""),
        "max_threads_per_block": int(_told(_THREADS)),
        "max_shared_memory_per_block": int(_told(_SHARED)),
        "thread_warp_size": int(_told(_WARP)),
    }


def require_compiler() -> None:
    """TVM hands CUDA source to NVRTC, through NVIDIA's Python package."""
    try:
        found = importlib.util.find_spec("cuda.bindings.nvrtc")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UnavailableError(
            "target-unavailable",
            "tvm cannot compile for the GPU",
            why="NVIDIA's compiler NVRTC is not installed for Python",
            hint="pip install 'apache-tvm[cuda]' nvidia-cuda-nvrtc",
        )


@cache
def _load_cuda() -> str | None:
    """TVM's runtime for CUDA; why not, where it does not load."""
    runtime.ffi()
    try:
        ctypes.CDLL(str(runtime.folder() / "lib" / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None


def _told(attribute: int) -> Any:
    return runtime.ffi().get_global_func("runtime.GetDeviceAttr")(_CUDA, 0, attribute)


def aligned(array: Array) -> Array:
    """Contiguous, and where vector instructions want it; a copy only if it has to be."""
    if array.size == 0:
        # numpy counts an axis of length 0 as 1 in the strides before it, TVM does not.
        steps = [int(np.prod(array.shape[axis + 1 :])) * array.itemsize for axis in range(array.ndim)]
        return np.lib.stride_tricks.as_strided(np.empty(array.shape, array.dtype), strides=steps)
    if array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % _ALIGNMENT == 0:
        return array
    spare = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -spare.ctypes.data % _ALIGNMENT
    copy = spare[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
