"""Memory that grows when it must and is otherwise kept from call to call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from backends.tensorrt.cuda import Cuda
from compiler.contracts import Array


class Buffer:
    """Only asked to grow while no work that uses it is under way."""

    def __init__(self, allocate: Callable[[int], int], free: Callable[[int], None]) -> None:
        self._allocate = allocate
        self._free = free
        self._size = 0
        self.address = 0

    def reserve(self, size: int) -> int:
        """The address of at least `size` bytes, and of one byte where nothing is needed: 0 is no address."""
        size = max(size, 1)
        if size > self._size:
            self.free()
            self.address = self._allocate(size)
            self._size = size
        return self.address

    def free(self) -> None:
        if self.address:
            self._free(self.address)
        self.address = self._size = 0


class DeviceBuffer(Buffer):
    def __init__(self, cuda: Cuda) -> None:
        super().__init__(cuda.allocate, cuda.free)


class HostBuffer(Buffer):
    """Pinned: copies to and from the device need no stop on the way."""

    def __init__(self, cuda: Cuda) -> None:
        super().__init__(cuda.allocate_host, cuda.free_host)

    def put(self, array: Array) -> None:
        """Copy an array in, in C order, however it lies in memory."""
        self.reserve(array.nbytes)
        self._view(array.shape, array.dtype)[...] = array

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """What lies here, as an array of its own."""
        return self._view(shape, dtype).copy()

    def _view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        raw = (ctypes.c_uint8 * size).from_address(self.address)
        return np.ndarray(shape, dtype, buffer=memoryview(raw))
