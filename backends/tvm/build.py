"""From a graph in a file to a library and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.tvm import link, target, weights
from backends.tvm import options as settings
from backends.tvm.explain import Explain
from compiler.contracts import Artifact, Signature
from compiler.errors import CompileError

_LIBRARY, _WEIGHTS, _INDEX = "model.so", "weights.bin", "weights.json"


def build(graph: Path, signature: Signature, options: Mapping[str, Any], out: Path, runtime: str) -> Artifact:
    import onnx_ir as ir
    import tvm

    from backends.tvm.emit.emitter import MAIN, emit_model
    from backends.tvm.emit.table import table
    from backends.tvm.lower import pipeline, plain

    settings.check_mcpu(options)
    explain = Explain()
    machine = target.machine(options)
    made = target.of(machine)
    emitted = emit_model(ir.load(graph), signature, table())
    lowering = plain if options.get("kernels") == "plain" else pipeline
    lowered = lowering.lower(emitted.module, machine, explain)
    bare, arrays = weights.lift(lowered, [MAIN])
    executable = tvm.compile(lowering.finish(bare, machine), made, relax_pipeline=None)
    command = link.linker()
    if command is None:
        raise CompileError("no-linker", "there is neither a C compiler nor a linker", hint="install gcc or binutils")
    link.export(executable, out / _LIBRARY, command)
    weights.write(arrays, out / _WEIGHTS, out / _INDEX)
    return Artifact(
        "tvm",
        (_LIBRARY, _WEIGHTS, _INDEX),
        runtime,
        signature,
        precision=_precision(signature),
        options=dict(options),
        facts={
            "native_code": True,
            "cpu_features": target.needed_features(machine),
            "mcpu": machine.mcpu,
            "steps": list(emitted.steps),
            "declined": explain.declined,
        },
    )


def _precision(signature: Signature) -> str:
    """Kernels compute in what the graph says; float16 is added up in float32."""
    floats = {spec.dtype for spec in (*signature.inputs, *signature.outputs) if "float" in spec.dtype}
    return "as the graph says" if len(floats) > 1 else next(iter(floats), "float32")
