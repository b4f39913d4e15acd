"""onnxsim's simplification, where it leaves fewer nodes and the graph still computes the same.

It is native code, so it runs in a process of its own. Whatever goes wrong, the graph from before is kept and the
reason is told.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.errors import PlumblineError
from compiler.ir.provenance import inherit, origins
from compiler.ir.store import weight_bytes
from compiler.ir.verify import signature_of, verify
from compiler.passes.agreement import Judge
from compiler.passes.declined import Declining
from compiler.passes.rewriting import graphs

# In a model's `meta`: a function that gives data to run the graph on.
DRAWS = "plumbline.draws"

SECONDS = 120
_LARGEST = 512 * 2**20  # bytes of weights: they are written, read, and held twice
_GROWTH = 1.05  # of the weights


class Simplify(Declining, ir.passes.InPlacePass):
    """Names of inputs and outputs stay; nodes that are made new come from where their results go."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        objection = self._objection(model)
        simplified = None
        if objection is None:
            simplified = self._simplified(model)
        if simplified is not None:
            objection = _difference(model, simplified)
        if objection is not None or simplified is None:
            if objection is not None:
                self._declined.append(objection)
            return ir.passes.PassResult(model, modified=False)
        _inherit(model, simplified)
        model.graph = simplified.graph
        model.ir_version = simplified.ir_version
        return ir.passes.PassResult(model, modified=True)

    def _objection(self, model: ir.Model) -> str | None:
        if model.functions:
            return "the model has functions of its own"
        if weight_bytes(model) > _LARGEST:
            return f"the weights are larger than {_LARGEST // 2**20} MiB"
        return None if DRAWS in model.meta else "there is no data to check the result with"

    def _simplified(self, model: ir.Model) -> ir.Model | None:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
            onnx.save(ir.to_proto(model), source)
            command = [sys.executable, "-m", "compiler.passes.onnxsim_child", str(source), str(target)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            except subprocess.TimeoutExpired:
                self._declined.append(f"onnxsim took more than {SECONDS} seconds")
                return None
            if done.returncode != 0:
                last = next(iter(done.stderr.strip().splitlines()[-1:]), "")
                self._declined.append(f"onnxsim ended with exit code {done.returncode}: {last}")
                return None
            return ir.from_proto(onnx.load(target))


def _difference(model: ir.Model, simplified: ir.Model) -> str | None:
    """Why the simplified graph may not take the place of the model's."""
    if _nodes(simplified) >= _nodes(model):
        return "onnxsim leaves as many nodes as there were"
    if weight_bytes(simplified) > weight_bytes(model) * _GROWTH:
        return "onnxsim makes the weights grow"
    for old, new in zip(model.graph.outputs, simplified.graph.outputs, strict=True):
        new.type, new.shape = old.type, old.shape
    draws: Callable[[], list[Arrays]] = model.meta[DRAWS]
    try:
        verify(simplified)
        if signature_of(simplified) != signature_of(model):
            return "onnxsim changes the inputs or outputs"
        found = Judge(model, draws()).difference(simplified)
    except PlumblineError as error:
        return f"what onnxsim makes cannot be checked: {error.message} ({error.why})"
    return None if found is None else f"onnxsim changes what the model computes: {found[1]}"


def _nodes(model: ir.Model) -> int:
    return sum(len(graph) for graph in graphs(model))


def _inherit(model: ir.Model, simplified: ir.Model) -> None:
    """A node comes from where the node came from that made a value of this name, or else from where its users do."""
    made = {value.name: node for graph in graphs(model) for node in graph for value in node.outputs}
    for graph in graphs(simplified):
        for node in reversed(tuple(graph)):
            if origins(node):
                continue
            old = [made[value.name] for value in node.outputs if value.name in made]
            inherit([node], old or [user for value in node.outputs for user, _ in value.uses()])
