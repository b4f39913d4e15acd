"""From a parsed network to an engine in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from backends.tensorrt import network as networks
from backends.tensorrt.cache import CacheFile
from backends.tensorrt.flavor import Runtime
from backends.tensorrt.gpu import Gpu
from backends.tensorrt.log import logger
from backends.tensorrt.mapped import letting_go
from backends.tensorrt.options import Settings
from backends.tensorrt.places import Places
from backends.tensorrt.profiles import Profile, profile
from compiler.contracts import Signature
from compiler.errors import CompileError, UnavailableError, UsageError
from compiler.graph_files import data_file

# The oldest that is built for unless it is asked for: 7.5 has no kernels for products of float32 matrices.
_OLDEST = (8, 0)


@dataclass(frozen=True)
class Plan:
    """What an engine is to be built for."""

    runtime: Runtime
    settings: Settings
    gpu: Gpu | None
    capabilities: tuple[tuple[int, int], ...]  # none where it builds for the GPU that is here
    profile: Profile


def plan(runtime: Runtime, settings: Settings, gpu: Gpu | None, signature: Signature) -> Plan:
    if settings.strip_weights and gpu is None:
        raise UnavailableError(
            "no-gpu",
            "an engine without weights can only be built where a GPU is",
            why="TensorRT calls the CUDA driver for it",
            hint="leave strip_weights out, or build on a machine with an NVIDIA GPU",
        )
    capabilities = _capabilities(runtime, settings, gpu)
    return Plan(runtime, settings, gpu, capabilities, profile(signature, settings.opt))


def _capabilities(runtime: Runtime, settings: Settings, gpu: Gpu | None) -> tuple[tuple[int, int], ...]:
    known = runtime.architectures()
    wanted = settings.compute_capability
    words = ", ".join(f"{major}.{minor}" for major, minor in known)
    for capability in wanted:
        if capability not in known:
            why = f"it builds for {words}" if known else "it builds for the GPU that is here"
            raise UsageError(
                "bad-option",
                f"{runtime.flavor.title} cannot build for compute capability {capability[0]}.{capability[1]}",
                why=why,
            )
    if wanted or not known:
        return wanted
    if gpu is not None and gpu.capability in known:
        return (gpu.capability,)
    return tuple(capability for capability in known if capability >= _OLDEST)


def facts(plan: Plan) -> dict[str, Any]:
    """For the manifest."""
    shapes = plan.profile
    return {
        "compute_capabilities": [f"{major}.{minor}" for major, minor in plan.capabilities]
        or [f"{major}.{minor}" for major, minor in ([plan.gpu.capability] if plan.gpu else [])],
        "profile": {
            name: {"min": shapes.smallest[name], "opt": tuned, "max": shapes.largest[name]}
            for name, tuned in shapes.tuned.items()
        },
    }


def build(plan: Plan, graph: Path, file: Path) -> None:
    """Writes the engine to `file`."""
    trt = plan.runtime.trt
    log = logger(trt)
    log.take()
    builder = trt.Builder(log)
    if plan.settings.threads:
        builder.max_threads = plan.settings.threads
    network = networks.parse(trt, builder, log, graph.resolve())
    config = configured(builder, plan)
    keep = with_timings(config, plan)
    weights = data_file(graph).resolve()
    if weights.exists():
        config.progress_monitor = letting_go(trt, weights)
    with file.open("wb") as out:
        built = _write(trt, builder, network.layers, config, out)
    if not built:
        raise _failed(log.take(), graph)
    keep()


def with_timings(config: Any, plan: Plan) -> Callable[[], None]:
    """Measurements of kernels from earlier builds on this GPU; afterwards keeps those of this build, too."""
    if plan.settings.cache is None or plan.gpu is None or plan.runtime.compiles_when_loaded:
        return lambda: None
    kept = CacheFile(plan.settings.cache, "timings", plan.gpu, plan.runtime.version)
    timings = config.create_timing_cache(kept.read())
    config.set_timing_cache(timings, False)
    return lambda: kept.write(bytes(timings.serialize()))


def configured(builder: Any, plan: Plan) -> Any:
    trt, settings = plan.runtime.trt, plan.settings
    config = builder.create_builder_config()
    for flag, wanted in _flags(trt, settings).items():
        (config.set_flag if wanted else config.clear_flag)(flag)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    if plan.capabilities:
        config.num_compute_capabilities = len(plan.capabilities)
        known = plan.runtime.architectures()
        for index, capability in enumerate(plan.capabilities):
            config.set_compute_capability(known[capability], index)
    _add_profile(builder, config, plan.profile)
    return config


def _flags(trt: Any, settings: Settings) -> Mapping[Any, bool]:
    flag = trt.BuilderFlag
    return {
        flag.TF32: settings.tf32,
        flag.STRICT_NANS: settings.strict_nans,
        flag.VERSION_COMPATIBLE: settings.version_compatible,
        flag.EXCLUDE_LEAN_RUNTIME: settings.version_compatible,  # it would be code for the CPU in the engine
        flag.STRIP_PLAN: settings.strip_weights,
    }


def _add_profile(builder: Any, config: Any, shapes: Profile) -> None:
    if not shapes.tuned:
        return
    made = builder.create_optimization_profile()
    for name, tuned in shapes.tuned.items():
        made.set_shape(name, shapes.smallest[name], tuned, shapes.largest[name])
    config.add_optimization_profile(made)


def _write(trt: Any, builder: Any, network: Any, config: Any, out: BinaryIO) -> bool:
    """In pieces where the runtime can: otherwise the whole engine lies in memory beside the weights."""
    if not hasattr(builder, "build_serialized_network_to_stream"):
        engine = builder.build_serialized_network(network, config)
        if engine is not None:
            out.write(memoryview(engine))
        return engine is not None

    class Writer(trt.IStreamWriter):  # type: ignore[misc]
        failure: OSError | None = None

        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)

        def write(self, data: bytes) -> int:
            # An exception may not cross TensorRT's frames; fewer bytes than it gave tell it to stop.
            try:
                return out.write(data)
            except OSError as error:
                self.failure = error
                return 0

    writer = Writer()
    built = bool(builder.build_serialized_network_to_stream(network, config, writer))
    if writer.failure is not None:
        raise writer.failure
    return built


def _failed(errors: list[str], graph: Path) -> CompileError:
    return CompileError(
        "runtime-refused",
        "TensorRT parsed this model, but could not build it",
        where=Places(graph).mentioned(errors),
        why=" / ".join(errors) or "it does not say why",
        hint="another --option tensorrt.compute_capability, or another --target",
    )
