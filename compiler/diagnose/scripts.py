"""Short programs that show a difference with the runtime alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = """\
import numpy as np
{imports}

inputs = dict(np.load("inputs.npz"))
"""

_TAIL = """\
for name, want in np.load("expected.npz").items():
    apart = np.abs(np.asarray(got[name], "float64") - np.asarray(want, "float64"))
    print(f"{name}: off by {np.nanmax(apart):.6g}, values are up to {np.nanmax(np.abs(want)):.6g}")
"""

_ONNXRUNTIME = """\
session = onnxruntime.InferenceSession("{graph}")
feeds = {{value.name: inputs[value.name] for value in session.get_inputs()}}
got = dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds)))
"""

_OPENVINO = """\
exact = {{"INFERENCE_PRECISION_HINT": "f32"}}
model = openvino.Core().compile_model("{graph}", "CPU", exact)
results = model(inputs)
got = {{output.get_any_name(): results[output] for output in model.outputs}}
"""

_TVM = """\
model = onnx.load("{graph}")
names = [value.name for value in model.graph.input]
built = tvm.relax.build(from_onnx(model, keep_params_in_input=False), target="llvm")
machine = tvm.relax.VirtualMachine(built, tvm.cpu())
results = machine["main"](*(tvm.runtime.tensor(inputs[name]) for name in names))
results = results if isinstance(results, (tuple, list, tvm.ir.Array)) else [results]
got = {{value.name: result.numpy() for value, result in zip(model.graph.output, results)}}
"""

_EVALUATOR = """\
evaluator = onnx.reference.ReferenceEvaluator("{graph}")
got = dict(zip(evaluator.output_names, evaluator.run(None, inputs)))
"""

_PLUMBLINE = """\
graph = onnx_ir.load("{graph}")
backend, out = backends.get("{target}"), pathlib.Path(tempfile.mkdtemp())
shutil.copy("{graph}", out / "model.onnx")
artifact = backend.build(out / "model.onnx", signature_of(graph), {{}}, out)
with backend.open(artifact, out, {{}}) as session:
    got = session(inputs)
"""

_ASKS_PLUMBLINE = """\
import pathlib
import shutil
import tempfile

import backends
import onnx_ir
from compiler.ir.verify import signature_of"""

# What each target's script imports, and how it runs a graph.
_RUNS = {
    "onnxruntime": ("import onnxruntime", _ONNXRUNTIME),
    "openvino": ("import openvino", _OPENVINO),
    "onnx": ("import onnx.reference", _EVALUATOR),
    "tvm": ("import onnx\nimport tvm\nfrom tvm.relax.frontend.onnx import from_onnx", _TVM),
}


@dataclass(frozen=True)
class Script:
    text: str
    summary: str


def script(stage: str, target: str, graphs: Sequence[str]) -> Script:
    """Of a fault in a graph, ONNX Runtime shows it: the graph itself is wrong, whoever runs it."""
    runner = target if stage == "runtime" else "onnxruntime"
    imports, run = _RUNS.get(runner, (_ASKS_PLUMBLINE, _PLUMBLINE))
    parts = [_HEAD.format(imports=imports)]
    for graph in graphs:
        title = f'print("{graph}")\n' if len(graphs) > 1 else ""
        parts.append(title + run.format(graph=graph, target=target) + _TAIL)
    return Script("\n".join(parts), _summary(runner))


def _summary(runner: str) -> str:
    if runner == "tvm":
        return "runs it with TVM's own importer; plumbline builds with one of its own, so that this may come out right"
    if runner not in _RUNS:
        return "runs it with the target, which only plumbline can ask"
    return f"runs it with {runner} alone and prints the difference"
