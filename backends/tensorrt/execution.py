"""One call after another through one execution context: copy in, run, copy out; or run where the arrays lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from backends.tensorrt.buffers import DeviceBuffer, HostBuffer
from backends.tensorrt.cuda import Cuda
from backends.tensorrt.device_arrays import DeviceArray
from backends.tensorrt.loading import Loaded
from compiler.contracts import Array, Arrays, Signature, TensorSpec
from compiler.errors import CompileError, UsageError

Shape = tuple[int, ...]
Result = TypeVar("Result")

_ALIGNED = 256  # bytes; what TensorRT asks of those who allocate for it


class Execution:
    """Used by one thread at a time, with the device current. Buffers are kept from call to call; each call ends with
    the stream at rest, so that none of them is in use when the next one begins."""

    def __init__(self, trt: Any, loaded: Loaded, cuda: Cuda, signature: Signature) -> None:
        self._loaded = loaded
        self._context = loaded.context
        self._cuda = cuda
        self.stream = cuda.stream()
        on_host = trt.TensorLocation.HOST
        located = {spec: loaded.engine.get_tensor_location(spec.name) == on_host for spec in _all(signature)}
        self._inputs = [_Tensor(spec, cuda, located[spec]) for spec in signature.inputs]
        self._outputs = [_Tensor(spec, cuda, located[spec]) for spec in signature.outputs]
        self._allocators = {tensor.name: _allocator(trt, tensor) for tensor in self._outputs}

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return self._settled(lambda: self._run(inputs))

    def on_device(self, inputs: Mapping[str, DeviceArray], outputs: Mapping[str, DeviceArray]) -> None:
        """From the caller's memory on the GPU into the caller's memory there."""
        self._settled(lambda: self._run_on_device(inputs, outputs))

    def watch(self, profiler: Any) -> None:
        self._context.profiler = profiler

    def _settled(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except (CompileError, UsageError):
            # Copies may still be under way, and the next call will use the same buffers.
            with suppress(CompileError):
                self._cuda.synchronize(self.stream)
            raise

    def _run_on_device(self, inputs: Mapping[str, DeviceArray], outputs: Mapping[str, DeviceArray]) -> None:
        for tensor in self._inputs:
            self._lend(tensor, inputs[tensor.name])
        self._complete()
        late = [tensor for tensor in self._outputs if not self._lend_output(tensor, outputs[tensor.name])]
        self._start()
        for tensor in late:
            given = outputs[tensor.name]
            if tensor.on_host:
                self._cuda.to_device(given.address, tensor.host.address, given.size, self.stream)
            else:
                self._cuda.on_device(given.address, tensor.device.address, given.size, self.stream)
        self._cuda.synchronize(self.stream)

    def _lend(self, tensor: _Tensor, given: DeviceArray) -> None:
        self._resize(tensor, given.shape)
        if _fits(tensor, given):
            self._bind(tensor, given.address)
            return
        address = tensor.reserve(given.size)
        if given.size and tensor.on_host:
            self._cuda.to_host(address, given.address, given.size, self.stream)
            self._cuda.synchronize(self.stream)  # it is read as soon as the call begins
        elif given.size:
            self._cuda.on_device(address, given.address, given.size, self.stream)
        self._bind(tensor, address)

    def _lend_output(self, tensor: _Tensor, given: DeviceArray) -> bool:
        """Whether TensorRT writes it directly; otherwise it is copied when the call is over."""
        shape = self._shape(tensor)
        if shape != given.shape:
            why = f"this call gives {list(shape)}" if -1 not in shape else "its size depends on data"
            hint = "another array" if -1 not in shape else "call the session itself, which finds the size out"
            raise UsageError(
                "input-mismatch", f"the output '{tensor.name}' has shape {list(given.shape)}", why=why, hint=hint
            )
        fits = _fits(tensor, given)
        self._bind(tensor, given.address if fits else tensor.reserve(given.size))
        return fits or not given.size

    def _run(self, inputs: Arrays) -> dict[str, Array]:
        for tensor in self._inputs:
            self._bring(tensor, inputs[tensor.name])
        self._complete()
        allocated = [tensor for tensor in self._outputs if not self._place(tensor)]
        self._start()
        # What was allocated on the way has its shape only now.
        shapes = {tensor.name: self._allocators[tensor.name].shape for tensor in allocated}
        shapes |= {tensor.name: self._shape(tensor) for tensor in self._outputs if tensor.name not in shapes}
        for tensor in self._outputs:
            self._fetch(tensor, shapes[tensor.name])
        self._cuda.synchronize(self.stream)
        return {tensor.name: tensor.host.take(shapes[tensor.name], tensor.dtype) for tensor in self._outputs}

    def close(self) -> None:
        self._cuda.synchronize(self.stream)
        for tensor in (*self._inputs, *self._outputs):
            tensor.free()
        self._cuda.destroy(self.stream)
        del self._context

    def _start(self) -> None:
        if not self._context.execute_async_v3(self.stream):
            raise self._failed("the engine did not run")

    def _resize(self, tensor: _Tensor, shape: Shape) -> None:
        if not self._context.set_input_shape(tensor.name, shape):
            raise self._failed(f"the engine does not take {tensor.name} in shape {shape}")

    def _bring(self, tensor: _Tensor, array: Array) -> None:
        self._resize(tensor, array.shape)
        tensor.host.put(array)
        address = tensor.reserve(array.nbytes)
        if array.nbytes and not tensor.on_host:
            self._cuda.to_device(address, tensor.host.address, array.nbytes, self.stream)
        self._bind(tensor, address)

    def _complete(self) -> None:
        try:
            missing = self._context.infer_shapes()
        except RuntimeError as error:
            raise self._failed("these shapes do not go together in the engine") from error
        if missing:
            raise self._failed(f"the engine needs more to know its shapes: {', '.join(missing)}")

    def _place(self, tensor: _Tensor) -> bool:
        """Give an output its memory; where its shape depends on data, an allocator that is asked for it later."""
        shape = self._shape(tensor)
        if -1 in shape:
            self._context.set_output_allocator(tensor.name, self._allocators[tensor.name])
            return False
        self._bind(tensor, tensor.reserve(tensor.bytes_of(shape)))
        return True

    def _bind(self, tensor: _Tensor, address: int) -> None:
        if not self._context.set_tensor_address(tensor.name, address):
            raise self._failed(f"the engine does not take the memory of {tensor.name}")

    def _shape(self, tensor: _Tensor) -> Shape:
        return tuple(self._context.get_tensor_shape(tensor.name))

    def _fetch(self, tensor: _Tensor, shape: Shape) -> None:
        size = tensor.bytes_of(shape)
        if size and not tensor.on_host:
            self._cuda.to_host(tensor.host.reserve(size), tensor.device.address, size, self.stream)
        else:
            tensor.host.reserve(size)

    def _failed(self, what: str) -> CompileError:
        return CompileError("gpu-failed", what, why=self._loaded.said() or None)


class _Tensor:
    """An input or output and its memory on both sides."""

    def __init__(self, spec: TensorSpec, cuda: Cuda, on_host: bool) -> None:
        self.name = spec.name
        self.dtype = _numpy_dtype(spec.dtype)
        self.on_host = on_host  # where TensorRT wants it: shapes are computed there
        self.device = DeviceBuffer(cuda)
        self.host = HostBuffer(cuda)

    def reserve(self, size: int) -> int:
        return (self.host if self.on_host else self.device).reserve(size)

    def bytes_of(self, shape: Shape) -> int:
        return int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize

    def free(self) -> None:
        self.device.free()
        self.host.free()


def _fits(tensor: _Tensor, given: DeviceArray) -> bool:
    """Whether TensorRT can work in the caller's memory itself."""
    return bool(given.size) and not tensor.on_host and given.address % _ALIGNED == 0


def _allocator(trt: Any, tensor: _Tensor) -> Any:
    """For an output whose size only the run itself finds out."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.shape: Shape = ()

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int | None:
            # An exception may not cross TensorRT's frames; None says that there is no memory.
            try:
                return tensor.reserve(size)
            except CompileError:
                return None

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int | None:
            return self.reallocate_output_async(name, memory, size, alignment, 0)

        def notify_shape(self, name: str, shape: Any) -> None:
            self.shape = tuple(shape)

    return Allocator()


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes  # noqa: F401 - teaches numpy the name; only for those who need it

    return np.dtype(name)


def _all(signature: Signature) -> tuple[TensorSpec, ...]:
    return (*signature.inputs, *signature.outputs)
