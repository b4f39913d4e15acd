"""Faults planted into a graph, a pass or a target, and what bisection makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from compiler.cases import Case, Otherwise, Reference
from compiler.contracts import (
    Array,
    Arrays,
    Artifact,
    Check,
    Closing,
    Dim,
    Inside,
    Legality,
    Probe,
    Ready,
    Session,
    Signature,
    SilentProgress,
)
from compiler.diagnose.bisect import Suspects, bisect
from compiler.diagnose.diagnosis import Diagnosis
from compiler.diagnose.route import Route
from compiler.diagnose.runtime import Runtime
from compiler.diagnose.search import Clock
from compiler.diagnose.values import truth_of
from compiler.graph_files import GRAPH, adopt
from compiler.ir.evaluate import Evaluator
from compiler.ir.store import save
from compiler.ir.verify import signature_of
from compiler.passes import pipeline
from compiler.validate.judge import judge_either_way
from compiler.verdicts import Terms

Spoil = Callable[[ir.Model], bool]  # changes a graph in place, and says whether it did


def nothing(model: ir.Model) -> bool:
    return False


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
    effective: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, model: ir.Model) -> None:
        self._evaluator = Evaluator(model, precise=False)

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return self._evaluator(inputs)

    def close(self) -> None:
        pass


class Spoiling(ir.passes.InPlacePass):
    """A pass that leaves a fault behind."""

    def __init__(self, spoil: Spoil) -> None:
        super().__init__()
        self._spoil = spoil

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, self._spoil(model))


@dataclass(frozen=True)
class SpoilingStep(pipeline.Step):
    """A step of the pipeline whose pass is handed to it."""

    spoil: Spoil = nothing

    def make(self) -> ir.passes.PassBase:
        return Spoiling(self.spoil)


class NameNodes(ir.passes.InPlacePass):
    """Random graphs have nodes without names; a fault is told by one."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for node in model.graph:
            node.name = node.name or f"node_{node.outputs[0].name}"
        return ir.passes.PassResult(model, modified=False)


def reference_of(model: ir.Model, draws: Sequence[Arrays]) -> Reference:
    """What the graph computes is right."""
    plain, precise = Evaluator(model, precise=False), Evaluator(model, precise=True)
    cases = (Case(f"draw {number}", {}, dict(draw), plain(draw), precise(draw)) for number, draw in enumerate(draws))
    return Reference(tuple(cases), "plumbline's evaluator", 0)


class InsideGraph:
    """A graph in PyTorch's place: it tells its own values."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model

    def values(self, inputs: Arrays, *, precise: bool) -> Arrays:
        truth = truth_of(self._model, inputs)
        return truth.precise if precise else truth.plain

    def modules(self, inputs: Arrays, *, precise: bool) -> Arrays:
        raise AssertionError("the traced program is right here")

    def exported_modules(self, inputs: Arrays) -> Arrays:
        raise AssertionError("the traced program is right here")

    def line(self, what: str) -> str:
        raise AssertionError("the traced program is right here")


@dataclass(frozen=True)
class Plant:
    """A right graph with data, and who spoils it on its way."""

    model: ir.Model
    draws: Sequence[Arrays]
    captured: ir.Model | None = None  # where the exporter is at fault
    steps: Sequence[pipeline.Step] = field(default_factory=pipeline.default)
    target: Target = field(default_factory=Target)
    inside: Inside | None = None
    dims: Mapping[str, Dim] = field(default_factory=dict)
    reference: Reference | None = None
    answers: Check | None = None  # of the artifact, where it is not built
    otherwise: Otherwise | None = None  # what is right with the other choice of a near decision

    def route(self) -> Route:
        return Route(self.captured or self.model, self.steps, lambda: [("name-nodes", NameNodes())])

    def _built(self, folder: Path) -> Check:
        """One session for all cases, as when a model is compiled."""
        lowered, _ = self.route().walk()
        place = folder / "artifact"
        place.mkdir(parents=True, exist_ok=True)
        save(lowered, place / GRAPH)
        return self.target.open(Artifact("planted", (GRAPH,), "planted 1.0", signature_of(lowered)), place, {})

    def diagnose(self, folder: Path, seconds: float = 60) -> Diagnosis | None:
        """None where the outputs are right all the same: the fault does not show."""
        reference = self.reference or reference_of(self.model, self.draws)
        answers = self.answers or self._built(folder)
        reference, verdict = judge_either_way(reference, answers, Terms(), self.otherwise)
        if verdict.passed:
            return None
        runtime = Runtime(self.target, {}, self.dims, folder / "work")
        inside = self.inside or InsideGraph(self.model)
        suspects = Suspects(
            "planted", "planted 1.0", reference, verdict, Terms(), self.route(), inside, runtime, self.otherwise
        )
        return bisect(suspects, folder / "found", Clock(seconds), SilentProgress())


# -- faults -----------------------------------------------------------------------------------------------------

FAULTS = ("scaled", "shifted", "rounded")


def spoiled(node: ir.Node, fault: str, *, under_its_name: bool = False) -> None:
    """Whoever reads the node's first result reads it with a fault; which may take its name, too."""
    graph, value = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph) and value.dtype is not None
    if fault == "rounded":
        narrow = ir.node("Cast", [value], {"to": ir.DataType.BFLOAT16}, name=f"{node.name}_narrow")
        narrow.outputs[0].name = f"{value.name}_narrow"
        last = ir.node("Cast", narrow.outputs, {"to": value.dtype})
        nodes = [narrow, last]
    else:
        number = np.asarray(1.01 if fault == "scaled" else 0.01, value.dtype.numpy())
        constant = ir.Value(name=f"{value.name}_number", const_value=ir.tensor(number, name=f"{value.name}_number"))
        graph.register_initializer(constant)
        last = ir.node("Mul" if fault == "scaled" else "Add", [value, constant])
        nodes = [last]
    last.name = f"{node.name}_spoiled"
    result = last.outputs[0]
    result.name, result.type, result.shape = f"{value.name}_spoiled", value.type, value.shape
    if under_its_name or value.is_graph_output():
        value.name, result.name = f"{value.name}_right", value.name
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    nodes[0].replace_input_with(0, value)
    graph.insert_after(node, nodes)


def can_be_spoiled(node: ir.Node) -> bool:
    """One result, of float32 or float64, that is read."""
    value = node.outputs[0]
    used = value.is_graph_output() or bool(value.uses())
    return len(node.outputs) == 1 and value.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE) and used
