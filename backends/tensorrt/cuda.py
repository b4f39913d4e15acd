"""The part of the CUDA driver's interface that running an engine needs, through ctypes.

TensorRT works in the primary context of a device, and so do we: pointers from here are good there. Every function of
the driver answers with a number, and every number but 0 becomes an error with the driver's own words.
"""

from __future__ import annotations

import ctypes
from typing import Any

from backends.tensorrt import gpu
from compiler.errors import CompileError, UnavailableError

_OUT_OF_MEMORY = 2
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: never waits for the legacy default stream

# The arguments of each function; without them ctypes would cut pointers down to 32 bits.
_POINTER, _SIZE, _INT, _UINT = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint
_HANDLE = ctypes.c_void_p
_OUT = ctypes.c_void_p  # the address of what is filled in
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "cuInit": (_UINT,),
    "cuDeviceGet": (_OUT, _INT),
    "cuDevicePrimaryCtxRetain": (_OUT, _INT),
    "cuDevicePrimaryCtxRelease_v2": (_INT,),
    "cuCtxPushCurrent_v2": (_HANDLE,),
    "cuCtxPopCurrent_v2": (_OUT,),
    "cuStreamCreate": (_OUT, _UINT),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamDestroy_v2": (_HANDLE,),
    "cuMemAlloc_v2": (_OUT, _SIZE),
    "cuMemFree_v2": (_POINTER,),
    "cuMemHostAlloc": (_OUT, _SIZE, _UINT),
    "cuMemFreeHost": (_HANDLE,),
    "cuMemcpyHtoDAsync_v2": (_POINTER, _HANDLE, _SIZE, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (_HANDLE, _POINTER, _SIZE, _HANDLE),
    "cuMemcpyDtoDAsync_v2": (_POINTER, _POINTER, _SIZE, _HANDLE),
}


class Cuda:
    """One device. `with cuda:` makes it current for this thread; the other methods are called inside."""

    def __init__(self, index: int, library: Any = None) -> None:
        found = library or gpu.driver()
        if found is None:
            raise no_gpu()
        self._library: Any = found
        for name, types in _ARGUMENTS.items():
            getattr(self._library, name).argtypes = types
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), index)
        self._device = device.value
        self._context = self._made("cuDevicePrimaryCtxRetain", self._device)

    def __enter__(self) -> Cuda:
        self._call("cuCtxPushCurrent_v2", self._context)
        return self

    def __exit__(self, *_: object) -> None:
        self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def close(self) -> None:
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def stream(self) -> int:
        return self._made("cuStreamCreate", _NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        self._call("cuStreamSynchronize", stream)

    def destroy(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", stream)

    def allocate(self, size: int) -> int:
        """Memory of the device, aligned to 256 bytes at least."""
        return self._made("cuMemAlloc_v2", size)

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", address)

    def allocate_host(self, size: int) -> int:
        """Memory of the host that the device reads and writes directly."""
        return self._made("cuMemHostAlloc", size, 0)

    def free_host(self, address: int) -> None:
        self._call("cuMemFreeHost", address)

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync_v2", device, host, size, stream)

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync_v2", host, device, size, stream)

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        self._call("cuMemcpyDtoDAsync_v2", target, source, size, stream)

    def _made(self, name: str, *arguments: Any) -> int:
        """What a function puts into its first argument: a handle or an address."""
        made = ctypes.c_uint64()
        self._call(name, ctypes.byref(made), *arguments)
        return made.value

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status == _OUT_OF_MEMORY:
            hint = "smaller inputs, or a GPU with more memory"
            raise CompileError("out-of-memory", "the GPU has not enough memory", why=name, hint=hint)
        if status:
            raise CompileError("gpu-failed", "the GPU could not do it", why=f"{name}: {self._words(status)}")

    def _words(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        return (text.value or b"unknown error").decode(errors="replace") + f" ({status})"


def no_gpu() -> UnavailableError:
    return UnavailableError(
        "no-gpu",
        "a TensorRT engine runs on an NVIDIA GPU, and there is none here",
        why="the CUDA driver is missing or shows no device",
        hint="copy the bundle to a machine with one, or compile for --target onnxruntime",
    )
