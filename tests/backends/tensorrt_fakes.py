"""A CUDA driver and a TensorRT that live in host memory, to run the session's own code without a GPU.

The driver hands out real memory and copies for real; the engine is a Python function that reads and writes at the
addresses it was given. What is wrong with an address, a size or an order shows as a wrong number or an assertion.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np


class FakeDriver:
    """The functions of libcuda that the session calls. `failing` maps a function's name to the status it answers."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, int] = {}
        self.depth = 0
        self.streams = 0
        self.contexts = 0
        for name in dir(type(self)):
            if name.startswith("do_"):
                setattr(self, name.removeprefix("do_"), _Function(self, name))

    def do_cuInit(self, flags: int) -> None:
        assert flags == 0

    def do_cuDeviceGet(self, out: Any, index: int) -> None:
        out._obj.value = index

    def do_cuDevicePrimaryCtxRetain(self, out: Any, device: int) -> None:
        self.contexts += 1
        out._obj.value = 77

    def do_cuDevicePrimaryCtxRelease_v2(self, device: int) -> None:
        self.contexts -= 1

    def do_cuCtxPushCurrent_v2(self, context: int) -> None:
        assert context == 77
        self.depth += 1

    def do_cuCtxPopCurrent_v2(self, out: Any) -> None:
        self.depth -= 1

    def do_cuStreamCreate(self, out: Any, flags: int) -> None:
        self.streams += 1
        out._obj.value = 5

    def do_cuStreamSynchronize(self, stream: int) -> None:
        assert stream in (5, LEGACY_STREAM)

    def do_cuStreamDestroy_v2(self, stream: int) -> None:
        self.streams -= 1

    def do_cuMemAlloc_v2(self, out: Any, size: int) -> None:
        out._obj.value = self._allocate(size)

    def do_cuMemHostAlloc(self, out: Any, size: int, flags: int) -> None:
        out._obj.value = self._allocate(size)

    def do_cuMemFree_v2(self, address: int) -> None:
        del self.memory[address]

    def do_cuMemFreeHost(self, address: int) -> None:
        del self.memory[address]

    def do_cuMemcpyHtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:
        self._covers(target, size)
        self._covers(source, size)
        ctypes.memmove(target, source, size)

    def do_cuMemcpyDtoHAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:
        self.do_cuMemcpyHtoDAsync_v2(target, source, size, stream)

    def do_cuMemcpyDtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:
        self.do_cuMemcpyHtoDAsync_v2(target, source, size, stream)

    def cuGetErrorString(self, status: int, out: Any) -> int:
        out._obj.value = b"an illegal memory access was encountered"
        return 0

    def _allocate(self, size: int) -> int:
        assert size > 0, "the driver refuses to allocate nothing"
        assert self.depth > 0, "no device is current"
        block = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _covers(self, address: int, size: int) -> None:
        assert address in self.memory, "not an address of the driver's"
        assert size <= len(self.memory[address]), "reaches beyond its memory"


LEGACY_STREAM = 1


class OnDevice:
    """A caller's array in the driver's memory, as far from a multiple of 256 bytes as is wanted."""

    def __init__(self, driver: FakeDriver, content: Any, *, offset: int = 0, gpu: int = 0) -> None:
        block = (ctypes.c_uint8 * (content.nbytes + 512 + offset))()
        address = -(-ctypes.addressof(block) // 256) * 256 + offset
        driver.memory[address] = (ctypes.c_uint8 * content.nbytes).from_address(address)
        self._block, self.gpu = block, gpu
        self.array = np.ndarray(content.shape, content.dtype, buffer=memoryview(driver.memory[address]))
        self.array[...] = content


class ThroughInterface(OnDevice):
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.array.__array_interface__, "version": 3, "stream": LEGACY_STREAM}


class ThroughDlpack(OnDevice):
    streams: tuple[int, ...] = ()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.gpu

    def __dlpack__(self, *, stream: int) -> Any:
        self.streams += (stream,)
        return self.array.__dlpack__()


class _Function:
    """Like a function of a ctypes library: its argument types can be set."""

    argtypes: Any = None

    def __init__(self, driver: FakeDriver, name: str) -> None:
        self._driver, self._name = driver, name

    def __call__(self, *arguments: Any) -> int:
        name = self._name.removeprefix("do_")
        self._driver.calls[name] += 1
        assert self.argtypes is not None and len(self.argtypes) == len(arguments)
        if status := self._driver.failing.get(name, 0):
            return status
        getattr(self._driver, self._name)(*arguments)
        return 0


class Location(IntEnum):
    DEVICE = 0
    HOST = 1


class Validity(IntEnum):
    VALID = 0
    INVALID = 2


class Diagnostics(IntEnum):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2


class Severity(IntEnum):
    ERROR = 1


class Logger:
    Severity = Severity


class OutputAllocator:
    pass


class Profiler:
    pass


class FakeTensorRt:
    """The module. `compute` is the engine: from input arrays to output arrays by name."""

    __version__ = "1.7.1"
    ILogger = Logger
    TensorLocation = Location
    EngineValidity = Validity
    EngineInvalidityDiagnostics = Diagnostics
    IOutputAllocator = OutputAllocator
    IProfiler = Profiler
    ComputeCapability = IntEnum("ComputeCapability", {"SM89": 1})
    DynamicShapesKernelSpecializationStrategy = IntEnum("Strategy", {"LAZY": 0, "EAGER": 1, "NONE": 2})
    CudaGraphStrategy = IntEnum("Graphs", {"DISABLED": 0, "WHOLE_GRAPH_CAPTURE": 1})

    def __init__(
        self,
        compute: Callable[[dict[str, Any]], dict[str, Any]],
        dtypes: dict[str, Any],
        shapes: Callable[[dict[str, tuple[int, ...]]], dict[str, tuple[int, ...]]],
        on_host: frozenset[str] = frozenset(),
    ) -> None:
        self.compute, self.dtypes, self.shapes, self.on_host = compute, dtypes, shapes, on_host
        self.invalid = 0
        self.unreadable = False
        self.takes_shapes = True
        self.contradicted = False
        self.undecided: tuple[str, ...] = ()
        self.runs = True
        self.refitted: list[str] = []
        self.configs: list[Any] = []
        self.loaded_kernels: list[bytes] = []
        self.layers: dict[str, float] = {}  # name -> milliseconds
        self.log: Any = None

    def Runtime(self, log: Any) -> Any:
        self.log = log
        validity = Validity.INVALID if self.invalid else Validity.VALID
        return SimpleNamespace(
            engine_host_code_allowed=False,
            max_threads=0,
            get_engine_validity=lambda data: (validity, self.invalid),
            deserialize_cuda_engine=lambda data: None if self.unreadable else Engine(self, bytes(data)),
        )

    def Refitter(self, engine: Any, log: Any) -> Any:
        return SimpleNamespace(refit_cuda_engine=lambda: True)

    def OnnxParserRefitter(self, refitter: Any, log: Any) -> Any:
        return SimpleNamespace(refit_from_file=lambda path: self.refitted.append(path) or True)


class Engine:
    def __init__(self, trt: FakeTensorRt, content: bytes) -> None:
        self._trt, self.content = trt, content

    def get_tensor_location(self, name: str) -> Location:
        return Location.HOST if name in self._trt.on_host else Location.DEVICE

    def create_runtime_config(self) -> Any:
        kept = SimpleNamespace(deserialize=self._trt.loaded_kernels.append, serialize=lambda: b"compiled kernels")
        return SimpleNamespace(
            cuda_graph_strategy=0,
            dynamic_shapes_kernel_specialization_strategy=0,
            create_runtime_cache=lambda: kept,
            set_runtime_cache=lambda cache: cache is kept,
        )

    def create_execution_context(self, config: Any = None) -> Context:
        self._trt.configs.append(config)
        return Context(self._trt)


class Context:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt
        self._given: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self.profiler: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if not self._trt.takes_shapes:
            self._trt.log.log(Severity.ERROR, "shape outside of the profile")
            return False
        self._given[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self._allocators[name] = allocator
        return True

    def infer_shapes(self) -> list[str]:
        if self._trt.contradicted:
            raise RuntimeError("shape inference failed")
        return list(self._trt.undecided)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._trt.shapes(self._given)[name]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 5
        if not self._trt.runs:
            self._trt.log.log(Severity.ERROR, "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime")
            return False
        inputs = {
            name: _view(self._addresses[name], s, self._trt.dtypes[name]).copy() for name, s in self._given.items()
        }
        for name, array in self._trt.compute(inputs).items():
            address = self._addresses.get(name, 0)
            if name in self._allocators:
                allocator = self._allocators[name]
                allocator.notify_shape(name, array.shape)
                address = allocator.reallocate_output_async(name, 0, array.nbytes, 256, stream)
                if address is None:
                    return False
            _view(address, array.shape, array.dtype)[...] = array
        for layer, milliseconds in self._trt.layers.items() if self.profiler is not None else ():
            self.profiler.report_layer_time(layer, milliseconds)
        return True


def _view(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, buffer=memoryview((ctypes.c_uint8 * size).from_address(address)))
