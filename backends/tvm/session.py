"""A loaded library with its weights, called with numpy arrays."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backends.tvm import devices, runtime, weights
from backends.tvm import options as settings
from backends.tvm.build import INDEX, LIBRARY, SPECIAL, WEIGHTS, lower_graph
from backends.tvm.specialize import Special
from compiler.contracts import Array, Arrays, Artifact, Closing, Dim
from compiler.errors import UsageError


class Code:
    """One library that is loaded: for any sizes, or for some."""

    def __init__(
        self, library: Any, memory: tuple[int, ...], weights: list[Any], steps: list[Dim], sizes: Special | None = None
    ) -> None:
        self.machine = library["vm_load_executable"]()
        self.machine["vm_initialization"](*memory)
        self.main = self.machine["main"]
        self.weights = weights
        self.steps = steps
        self.sizes = sizes


class TvmSession(Closing):
    def __init__(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> None:
        settings.check(options)
        self._ffi = runtime.ffi()
        wanted = settings.threads(options) or os.cpu_count() or 1
        self._bind = settings.binds(options)
        self._threads = runtime.configure(wanted, bind=self._bind)
        self._device = devices.chosen(options, artifact.facts)
        self._signature = artifact.signature
        self._code, self._held = self._loaded(artifact, folder, options)
        # Weights lie side by side in one map; asking each of them at every call would take longer than a small model.
        spans = [_span(array) for array in self._held] or [(0, 0)]
        self._held_span = min(start for start, _ in spans), max(end for _, end in spans)
        self._indices = artifact.facts["indices"]
        self._precision = artifact.precision
        self._lock = threading.Lock()

    def _loaded(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> tuple[list[Code], list[Array]]:
        """What was made for some sizes comes first."""
        facts, dims, memory = artifact.facts, artifact.signature.dims, self._device.memory
        steps = [dims[name] for name in facts["steps"]]
        if artifact.files[0] != LIBRARY:
            # It was built where nothing could link; only here does a session need TVM's compiler.
            pool = weights.Pool()
            found_before = {"tune": "0s"} if "tune" in options else {}
            graph = folder / artifact.files[0]
            program = lower_graph(graph, artifact.signature, {**options, **found_before}, pool)
            held = [devices.aligned(array) for array in pool.arrays]
            return [Code(program.compiled().mod, memory, self._tensors(held), steps)], held
        held = weights.read(folder / WEIGHTS, folder / INDEX)
        tensors = self._tensors(held)
        code = [Code(runtime.library(folder / LIBRARY), memory, tensors[: facts.get("weights")], steps)]
        if "special" in facts:
            special = Special(**facts["special"])
            own = [dims[name] for name in special.steps]
            taken = tensors[: special.weights]
            code.insert(0, Code(runtime.library(folder / SPECIAL), memory, taken, own, special))
        return code, held

    def _tensors(self, arrays: list[Array]) -> list[Any]:
        return [self._device.put(array) for array in arrays]

    @property
    def code(self) -> Code:
        """For any sizes."""
        return self._code[-1]

    @property
    def weights(self) -> list[Array]:
        """Where they lie in memory is where kernels are handed them."""
        return self._held

    def watch(self, step: Callable[..., int]) -> None:
        """Call `step` before and after each step of the machine, from now on."""
        watching = self._ffi.convert(step)
        for code in self._code:
            code.machine["set_instrument"](watching)

    @property
    def effective(self) -> Mapping[str, Any]:
        return {"precision": self._precision, "threads": self._threads, "device": self._device.name}

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        for checked in self._indices:
            self._check_indices(inputs, checked["input"], checked["size"])
        arrays = [devices.aligned(inputs[spec.name]) for spec in self._signature.inputs]
        arguments = self._tensors(arrays)
        code = self._code_for(inputs) if len(self._code) > 1 else self._code[0]
        if code.steps:
            arguments.append(self._ffi.Shape([self._size(dim.name, inputs) // dim.step for dim in code.steps]))
        with self._lock:
            runtime.configure(self._threads, bind=self._bind)  # others may have used this thread's pool
            results = code.main(*arguments, *([code.weights] if code.weights else []))
            taken = [self._held_span, *map(_span, arrays)]
            outputs = {}
            for spec, result in zip(self._signature.outputs, results, strict=True):
                outputs[spec.name] = _owned(self._device.take(result), taken)
                taken.append(_span(outputs[spec.name]))
        return outputs

    def _code_for(self, inputs: Arrays) -> Code:
        sizes = {name: self._size(name, inputs) for name in self._signature.dims}
        return next(code for code in self._code if code.sizes is None or code.sizes.fits(sizes))

    def _size(self, dim: str, inputs: Arrays) -> int:
        for spec in self._signature.inputs:
            for extent, size in zip(spec.dims, inputs[spec.name].shape, strict=True):
                if isinstance(extent, Dim) and extent.name == dim:
                    return int(size)
        raise AssertionError(f"no input has the dim {dim}")

    def _check_indices(self, inputs: Arrays, name: str, size: int | str) -> None:
        """The kernels do not look: they hold an index at the edge."""
        indices = inputs[name]
        limit = size if isinstance(size, int) else self._size(size, inputs)
        if indices.size and not (-limit <= indices.min() and indices.max() < limit):
            wrong = indices[(indices < -limit) | (indices >= limit)].flat[0]
            raise UsageError(
                "index-out-of-range",
                f"input '{name}' has the index {wrong}",
                why=f"it picks one of {limit}, so that it must be within {-limit}..{limit - 1}",
            )

    def close(self) -> None:
        del self._code, self._held


def _span(array: Array) -> tuple[int, int]:
    """Where it lies in memory; nowhere, if it is empty."""
    start = array.ctypes.data if array.nbytes else 0
    return start, start + array.nbytes


def _owned(array: Array, taken: list[tuple[int, int]]) -> Array:
    """A result that is nobody else's memory."""
    start, end = _span(array)
    shared = any(start < other_end and other_start < end for other_start, other_end in taken)
    return array.copy() if shared or not array.flags.writeable else array
