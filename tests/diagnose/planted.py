"""Faults planted into a graph, a pass or a target, and what bisection makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import (
    Arrays,
    Artifact,
    Case,
    Closing,
    Dim,
    Inside,
    Legality,
    Probe,
    Ready,
    Reference,
    Session,
    Signature,
    SilentProgress,
    Terms,
)
from compiler.diagnose.bisect import Suspects, bisect
from compiler.diagnose.diagnosis import Diagnosis
from compiler.diagnose.route import Route
from compiler.diagnose.runtime import Runtime
from compiler.diagnose.search import Clock
from compiler.graph_files import adopt
from compiler.ir.evaluate import Evaluator
from compiler.passes import pipeline
from compiler.validate.judge import judge

Spoil = Callable[[ir.Model], object]  # changes a graph in place


def nothing(model: ir.Model) -> None:
    """No fault."""


class Target:
    """Runs graphs on the evaluator, after `spoil` has changed them."""

    name = "planted"
    legality = Legality(opsets={"": 24})

    def __init__(self, spoil: Spoil = nothing) -> None:
        self._spoil = spoil

    def probe(self) -> Probe:
        return Ready("planted 1.0", ("cpu",))

    def options(self) -> Mapping[str, str]:
        return {}

    def passes(self) -> Sequence[Any]:
        return ()

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        return Artifact(self.name, adopt(graph, out), "planted 1.0", signature)

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        model = ir.load(folder / artifact.files[0])
        self._spoil(model)
        return _Session(model)


class _Session(Closing):
    effective: Mapping[str, Any] = {}

    def __init__(self, model: ir.Model) -> None:
        self._evaluator = Evaluator(model, precise=False)

    def __call__(self, inputs: Arrays) -> dict[str, Any]:
        return self._evaluator(inputs)

    def close(self) -> None:
        pass


class Spoiling(ir.passes.InPlacePass):
    """A pass that leaves a fault behind."""

    def __init__(self, spoil: Spoil) -> None:
        super().__init__()
        self._spoil = spoil

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, bool(self._spoil(model)))


@dataclass(frozen=True)
class SpoilingStep(pipeline.Step):
    """A step of the pipeline whose pass is handed to it."""

    spoil: Spoil = nothing

    def make(self) -> ir.passes.PassBase:
        return Spoiling(self.spoil)


def reference_of(model: ir.Model, draws: Sequence[Arrays]) -> Reference:
    """What the graph computes is right."""
    plain, precise = Evaluator(model, precise=False), Evaluator(model, precise=True)
    cases = (Case(f"draw {number}", {}, dict(draw), plain(draw), precise(draw)) for number, draw in enumerate(draws))
    return Reference(tuple(cases), "plumbline's evaluator", 0)


@dataclass(frozen=True)
class Plant:
    """A right graph with data, and who spoils it on its way."""

    model: ir.Model
    draws: Sequence[Arrays]
    captured: ir.Model | None = None
    steps: Sequence[pipeline.Step] = field(default_factory=pipeline.default)
    target: Target = field(default_factory=Target)
    inside: Inside | None = None
    dims: Mapping[str, Dim] = field(default_factory=dict)

    def diagnose(self, folder: Path, seconds: float = 60) -> Diagnosis | None:
        """None where the outputs are right all the same: the fault does not show."""
        reference = reference_of(self.model, self.draws)
        route = Route(self.captured or self.model, self.steps, tuple)
        runtime = Runtime(self.target, {}, self.dims, folder / "work")
        lowered, _ = route.walk()

        def answer(inputs: Arrays) -> dict[str, Any]:
            found = runtime(lowered, inputs)
            assert found is not None
            return found

        verdict = judge(reference, answer, Terms())
        if verdict.passed:
            return None
        suspects = Suspects("planted", "planted 1.0", reference, verdict, route, self.inside, runtime)
        return bisect(suspects, folder / "found", Clock(seconds), SilentProgress())


def times(node: ir.Node, factor: float) -> None:
    """What a node's users read is off by a factor."""
    graph, value = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph)
    kind = value.dtype or ir.DataType.FLOAT
    by = ir.Value(
        name=f"{value.name}_by", const_value=ir.tensor(np.asarray(factor, kind.numpy()), name=f"{value.name}_by")
    )
    graph.register_initializer(by)
    spoiled = ir.node("Mul", [value, by], name=f"{node.name}_spoiled")
    spoiled.outputs[0].name = f"{value.name}_spoiled"
    spoiled.outputs[0].type, spoiled.outputs[0].shape = value.type, value.shape
    if value.is_graph_output():
        name = value.name
        value.name, spoiled.outputs[0].name = f"{name}_right", name
    value.replace_all_uses_with(spoiled.outputs[0], replace_graph_outputs=True)
    spoiled.replace_input_with(0, value)
    graph.insert_after(node, spoiled)
