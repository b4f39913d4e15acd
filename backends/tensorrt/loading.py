"""From an engine on disk to an execution context on a GPU."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.tensorrt.cache import CacheFile, digest
from backends.tensorrt.flavor import Runtime
from backends.tensorrt.gpu import Gpu
from backends.tensorrt.log import logger
from backends.tensorrt.options import Settings
from compiler.contracts import Artifact
from compiler.errors import CompileError, UnavailableError, UsageError


@dataclass
class Loaded:
    """An engine and its context; they go in the order in which TensorRT wants it: the context first."""

    log: Any
    engine: Any
    context: Any
    runtime: Any
    keep: Callable[[], None]  # what was compiled on the way, for the next time

    def said(self) -> str:
        """What TensorRT complained about since the last time."""
        return " / ".join(self.log.take())

    def close(self) -> None:
        self.keep()
        self.context = None
        self.engine = None
        self.runtime = None


def load(runtime: Runtime, gpu: Gpu, artifact: Artifact, folder: Path, settings: Settings) -> Loaded:
    """The bundle's hashes were checked before: an engine is code."""
    trt = runtime.trt
    log = logger(trt)
    log.take()
    host = trt.Runtime(log)  # engine_host_code_allowed stays False: code for the CPU has no place in our engines
    if settings.threads:
        host.max_threads = settings.threads
    file = folder / artifact.files[0]
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as engine_bytes:
        _check(runtime, host, engine_bytes, gpu, artifact)
        engine = host.deserialize_cuda_engine(engine_bytes)
    if engine is None:
        raise _unusable(gpu, artifact, " / ".join(log.take()))
    if settings.strip_weights:
        _fill(trt, engine, log, folder / artifact.files[1])
    context, keep = _context(runtime, gpu, engine, file, settings)
    if context is None:
        raise CompileError("gpu-failed", "the engine cannot be made ready to run", why=" / ".join(log.take()) or None)
    return Loaded(log, engine, context, host, keep)


def _check(runtime: Runtime, host: Any, engine: mmap.mmap, gpu: Gpu, artifact: Artifact) -> None:
    """The rtx flavour can say what is wrong before it loads anything."""
    if not hasattr(host, "get_engine_validity"):
        return
    validity, diagnostics = host.get_engine_validity(engine)
    if validity == runtime.trt.EngineValidity.INVALID:
        reasons = runtime.trt.EngineInvalidityDiagnostics.__members__.items()
        words = [name.lower().replace("_", " ") for name, bit in reasons if int(diagnostics) & int(bit)]
        raise _unusable(gpu, artifact, ", ".join(words))


def _unusable(gpu: Gpu, artifact: Artifact, why: str) -> UnavailableError:
    made_for = ", ".join(artifact.facts.get("compute_capabilities", ()))
    return UnavailableError(
        "other-gpu",
        f"this engine does not load on {gpu}",
        where=f"built with {artifact.runtime} for compute capability {made_for}" if made_for else artifact.runtime,
        why=why or None,
        hint="compile the model again on this machine, or with the runtime that the engine was built with",
    )


def _fill(trt: Any, engine: Any, log: Any, graph: Path) -> None:
    """Weights that were left out come from the graph beside the engine."""
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(graph)) or not refitter.refit_cuda_engine():
        raise CompileError("gpu-failed", "the engine's weights cannot be filled in", why=" / ".join(log.take()) or None)


def _context(runtime: Runtime, gpu: Gpu, engine: Any, file: Path, settings: Settings) -> tuple[Any, Callable[[], None]]:
    """A context, and what keeps for the next session what this one has compiled."""
    trt = runtime.trt
    if not runtime.compiles_when_loaded:
        if settings.cuda_graphs:
            hint = "leave it out, or record the stream yourself"
            raise UsageError("bad-option", f"{runtime.flavor.title} records no CUDA graphs by itself", hint=hint)
        return engine.create_execution_context(), _nothing
    config = engine.create_runtime_config()
    # Eager: what was verified is what runs. With lazy, later calls run other kernels than the first ones did.
    strategies = trt.DynamicShapesKernelSpecializationStrategy.__members__
    config.dynamic_shapes_kernel_specialization_strategy = strategies[settings.specialization.upper()]
    if settings.cuda_graphs:
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    if settings.cache is None:
        return engine.create_execution_context(config), _nothing
    kept = CacheFile(settings.cache, "kernels", gpu, runtime.version, digest(file))
    compiled = config.create_runtime_cache()
    if content := kept.read():
        compiled.deserialize(content)  # one that does not fit is left alone, and written anew in the end
    config.set_runtime_cache(compiled)
    return engine.create_execution_context(config), lambda: kept.write(bytes(compiled.serialize()))


def _nothing() -> None:
    pass
