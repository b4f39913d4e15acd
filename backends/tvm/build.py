"""From a graph in a file to a library and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backends.tvm import link, target, weights
from backends.tvm import options as settings
from backends.tvm.explain import Explain
from compiler.contracts import Array, Artifact, Signature
from compiler.graph_files import adopt

LIBRARY, WEIGHTS, INDEX = "model.so", "weights.bin", "weights.json"


@dataclass(frozen=True)
class Compiled:
    executable: Any
    weights: list[Array]
    facts: dict[str, Any]


def build(graph: Path, signature: Signature, options: Mapping[str, Any], out: Path, runtime: str) -> Artifact:
    compiled = compile_graph(graph, signature, options)
    command = link.linker()
    if command is not None:
        link.export(compiled.executable, out / LIBRARY, command)
        weights.write(compiled.weights, out / WEIGHTS, out / INDEX)
        files: tuple[str, ...] = (LIBRARY, WEIGHTS, INDEX)
        facts = compiled.facts
    else:
        # Proven to compile; each session compiles it again, in its own memory.
        files = adopt(graph, out)
        facts = {**compiled.facts, "note": "there is no linker here: it is compiled anew each time it is loaded"}
    return Artifact(
        "tvm", files, runtime, signature, precision=_precision(signature), options=dict(options), facts=facts
    )


def compile_graph(graph: Path, signature: Signature, options: Mapping[str, Any]) -> Compiled:
    import onnx_ir as ir
    import tvm

    from backends.tvm.emit.emitter import MAIN, emit_model
    from backends.tvm.emit.index_checks import index_ranges
    from backends.tvm.emit.table import table
    from backends.tvm.lower import pipeline, plain

    settings.check_mcpu(options)
    explain = Explain()
    machine = target.machine(options)
    model = ir.load(graph)
    emitted = emit_model(model, signature, table())
    lowering = plain if options.get("kernels") == "plain" else pipeline
    lowered = lowering.lower(emitted.module, machine, explain)
    bare, arrays = weights.lift(lowered, [MAIN])
    executable = tvm.compile(lowering.finish(bare, machine), target.of(machine), relax_pipeline=None)
    facts = {
        "native_code": True,
        "cpu_features": target.needed_features(machine),
        "mcpu": machine.mcpu,
        "steps": list(emitted.steps),
        "indices": [asdict(found) for found in index_ranges(model.graph, signature.dims)],
        "declined": explain.declined,
    }
    return Compiled(executable, arrays, facts)


def _precision(signature: Signature) -> str:
    """Kernels compute in what the graph says; float16 is added up in float32."""
    floats = {spec.dtype for spec in (*signature.inputs, *signature.outputs) if "float" in spec.dtype}
    return "as the graph says" if len(floats) > 1 else next(iter(floats), "float32")
