"""From a graph in a file to a library and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.tvm import devices, library_cache, link, specialize, target, weights
from backends.tvm import options as settings
from backends.tvm.explain import Explain
from backends.tvm.specialize import Special
from compiler.contracts import Artifact, Signature
from compiler.graph_files import adopt

if TYPE_CHECKING:
    import tvm

LIBRARY, SPECIAL, WEIGHTS, INDEX = "model.so", "special.so", "weights.bin", "weights.json"


@dataclass(frozen=True)
class Program:
    """What LLVM is handed; its last argument are the weights that were there when it was made, the first `weights`."""

    module: tvm.IRModule
    target: tvm.target.Target
    weights: int
    facts: dict[str, Any]

    def compiled(self) -> Any:
        import tvm

        return tvm.compile(self.module, self.target, relax_pipeline=None)


def build(graph: Path, signature: Signature, options: Mapping[str, Any], out: Path, runtime: str) -> Artifact:
    import onnx_ir as ir

    from backends.tvm import named

    sizes = settings.special_sizes(options, signature)
    pool = weights.Pool()
    program = lower_graph(graph, signature, options, pool)
    command = link.linker()
    if command is not None:
        keep = settings.keeps_libraries(options)
        found = _library(program, command, out / LIBRARY, keep=keep)
        facts = {**program.facts, "weights": program.weights, "library_from_cache": found}
        files: tuple[str, ...] = (LIBRARY, WEIGHTS, INDEX)
        if sizes:
            own = lower_graph(graph, specialize.fixed(signature, sizes), options, pool)
            _library(own, command, out / SPECIAL, keep=keep)
            facts["special"] = asdict(Special(sizes, own.facts["steps"], own.weights))
            files += (SPECIAL,)
        weights.write(pool.arrays, out / WEIGHTS, out / INDEX)
        facts["weight_names"] = named.names(ir.load(graph), pool.arrays)
    else:
        program.compiled()  # proven to compile; each session compiles it again, in its own memory
        files = adopt(graph, out)
        facts = {**program.facts, "note": "there is no linker here: it is compiled anew each time it is loaded"}
    return Artifact(
        "tvm", files, runtime, signature, precision=_precision(signature), options=dict(options), facts=facts
    )


def _library(program: Program, command: Sequence[str], library: Path, *, keep: bool) -> bool:
    """Whether it was in the cache already."""
    place = library_cache.folder(program.module, program.target, command) if keep else None
    if place is not None and library_cache.fetch(place, library):
        return True
    link.export(program.compiled(), library, command)
    if place is not None:
        library_cache.keep(library, place)
    return False


def lower_graph(graph: Path, signature: Signature, options: Mapping[str, Any], pool: weights.Pool) -> Program:
    import onnx_ir as ir

    from backends.tvm.emit.emitter import MAIN, emit_model
    from backends.tvm.emit.index_checks import index_ranges
    from backends.tvm.emit.table import table
    from backends.tvm.lower import gpu, pipeline, plain
    from backends.tvm.lower.tuning import Tuner

    settings.check_mcpu(options)
    explain = Explain()
    machine = target.machine(options)
    model = ir.load(graph)
    emitted = emit_model(model, signature, table())
    seconds = settings.tuning_seconds(options)
    tuner = Tuner(machine, seconds, explain) if seconds is not None else None
    where = target.of(machine)
    if settings.on_gpu(options):
        devices.require_compiler()
        where = gpu.target(devices.gpu(), machine)
        finish, lowered = plain.finish, gpu.lower(emitted.module, where)
    elif options.get("kernels") == "plain":
        finish, lowered = plain.finish, plain.lower(emitted.module, machine, explain)
    else:
        finish, lowered = pipeline.finish, pipeline.lower(emitted.module, machine, explain, tuner)
    bare = weights.lift(lowered, [MAIN], pool)
    facts = {
        "native_code": True,
        "cpu_features": target.needed_features(machine),
        "mcpu": machine.mcpu,
        "steps": list(emitted.steps),
        "indices": [asdict(found) for found in index_ranges(model.graph, signature.dims)],
        "declined": explain.declined,
    }
    if settings.on_gpu(options):
        facts["gpu"] = str(where.attrs["arch"])
    if tuner is not None:
        facts["tuned"] = tuner.report
    return Program(finish(bare, where), where, len(pool.arrays), facts)


def _precision(signature: Signature) -> str:
    """Kernels compute in what the graph says; float16 is added up in float32."""
    floats = {spec.dtype for spec in (*signature.inputs, *signature.outputs) if "float" in spec.dtype}
    return "as the graph says" if len(floats) > 1 else next(iter(floats), "float32")
