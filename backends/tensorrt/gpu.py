"""The NVIDIA GPUs of this machine, asked of the driver itself: no package is imported for it."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True)
class Gpu:
    index: int
    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        major, minor = self.capability
        return f"{self.name} ({major}.{minor})"


def driver() -> ctypes.CDLL | None:
    """The CUDA driver, or None where there is none."""
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


def driver_version() -> str:
    """The newest CUDA that the driver knows, as it counts: 13000 for 13.0."""
    cuda, version = driver(), ctypes.c_int()
    if cuda is not None:
        cuda.cuDriverGetVersion(ctypes.byref(version))
    return str(version.value)


def gpus() -> tuple[Gpu, ...]:
    """Every GPU that the driver shows us, in its order; CUDA_VISIBLE_DEVICES is heard."""
    cuda = driver()
    count = ctypes.c_int()
    # A driver without a GPU, or one that does not fit its kernel module, answers with an error: no GPU either way.
    if cuda is None or cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(cuda, index) for index in range(count.value))


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    return Gpu(
        index, name.value.decode(errors="replace"), (_attribute(cuda, device, _MAJOR), _attribute(cuda, device, _MINOR))
    )


def _attribute(cuda: ctypes.CDLL, device: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return value.value
