"""A loaded engine on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from backends import checked
from backends.tensorrt import device_arrays
from backends.tensorrt.cuda import Cuda, no_gpu
from backends.tensorrt.execution import Execution
from backends.tensorrt.flavor import Runtime, need
from backends.tensorrt.gpu import Gpu, gpus
from backends.tensorrt.loading import Loaded, load
from backends.tensorrt.options import Settings
from compiler.contracts import Array, Arrays, Artifact, Closing
from compiler.errors import CompileError, UsageError


def opened(artifact: Artifact, folder: Path, settings: Settings) -> TensorRtSession:
    """On the GPU that the options name; an error that says what to do where there is none."""
    here = gpus()
    if not here:
        raise no_gpu()
    if settings.device >= len(here):
        raise UsageError("bad-option", f"there is no GPU {settings.device}", why=f"the driver shows {len(here)}")
    flavor = str(artifact.facts.get("flavor", "")) or settings.flavor
    return TensorRtSession(artifact, folder, settings, need(flavor, here), here[settings.device])


class TensorRtSession(Closing):
    """Calls from several threads take turns: the GPU would, too."""

    def __init__(
        self, artifact: Artifact, folder: Path, settings: Settings, runtime: Runtime, gpu: Gpu, library: Any = None
    ) -> None:
        self._turn = threading.Lock()
        self._gpu = gpu
        self._artifact = artifact
        self._runtime = runtime
        self._settings = settings
        with ExitStack() as undo:
            self._cuda = Cuda(gpu.index, library)
            undo.callback(self._cuda.close)
            with self._cuda:
                self._loaded: Loaded | None = load(runtime, gpu, artifact, folder, settings)
                self._execution = Execution(runtime.trt, self._loaded, self._cuda, artifact.signature)
                self._threads = int(self._loaded.runtime.max_threads)
            undo.pop_all()

    @property
    def effective(self) -> Mapping[str, Any]:
        return {
            "device": str(self._gpu),
            "runtime": self._runtime.version,
            "precision": self._artifact.precision,
            "cuda_graphs": self._settings.cuda_graphs,
            "threads": self._threads,
        }

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        with self._turn, self._cuda:
            self._hold_open()
            return self._execution(inputs)

    def on_device(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """The same with arrays that lie on the GPU, results included: nothing is copied to the host or back."""
        signature, sizes = self._artifact.signature, dict[str, int]()
        checked.hold_names(inputs, signature.inputs, "input")
        checked.hold_names(outputs, signature.outputs, "output")
        with self._turn, self._cuda:
            self._hold_open()
            given = {name: self._located(name, array) for name, array in inputs.items()}
            results = {name: self._located(name, array) for name, array in outputs.items()}
            for spec in signature.inputs:
                checked.hold(spec, given[spec.name].dtype, given[spec.name].shape, sizes)
            for spec in signature.outputs:
                checked.hold_dtype(spec, results[spec.name].dtype, "output")
            self._execution.on_device(given, results)

    def watch(self, make: Callable[[Any], Any]) -> None:
        """Hand TensorRT the IProfiler that is made from its module; it is told of every layer from now on."""
        with self._turn, self._cuda:
            self._hold_open()
            self._execution.watch(make(self._runtime.trt))

    def _located(self, name: str, array: Any) -> device_arrays.DeviceArray:
        stream, wait = self._execution.stream, self._cuda.synchronize
        return device_arrays.read(name, array, self._gpu.index, stream, wait)

    def _hold_open(self) -> None:
        if self._loaded is None:
            raise CompileError("session-closed", "this session is closed", hint="load the bundle again")

    def close(self) -> None:
        with self._turn:
            if self._loaded is None:
                return
            with self._cuda:
                self._execution.close()
                self._loaded.close()
                self._loaded = None
            self._cuda.close()
