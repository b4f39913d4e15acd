"""What becomes of one random module on each target: captured and optimized once, then built, run and judged."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operators"))

import torch
from model_source import Model
from outcome import PASSED, REFUSED, WRONG, Outcome, of_error

from backends import registry
from backends.checked import CheckedSession
from compiler import driver
from compiler.cases import Reference
from compiler.contracts import Backend, Captured, Check
from compiler.errors import CompileError, PlumblineError
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.reference import ReferencePlan, compute
from compiler.ir.evaluate import Evaluator
from compiler.validate.judge import judge
from compiler.verdicts import Terms

TARGETS = ("onnxruntime", "openvino", "tvm")
FRONT = "front"  # what happened before any target

NOT_CAPTURED = "not captured"  # refused by name before there is a graph
BROKEN = "broken"  # the way to the graph ends in something that is no clear error
# What nobody needs to look at: it is right, or it is refused by name before anything is built.
FINE = (PASSED, REFUSED, NOT_CAPTURED)


@dataclass(frozen=True)
class Trial(Outcome):
    """The worst of a module's outcomes, with all of them, and the operators it was made of."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A module on its way to the targets."""

    captured: Captured
    reference: Reference
    operators: tuple[str, ...]


def attempt(model: Model, folder: Path, targets: Sequence[str] = TARGETS) -> Trial:
    with _undisturbed():
        try:
            prepared = prepare(model)
        except Exception as error:  # noqa: BLE001 - whatever torch or our own code raises is the result
            failed = _of_front(error, folder)
            return Trial(failed.kind, failed.why, {FRONT: failed})
        outcomes = {}
        for target in targets:
            place = folder / target
            place.mkdir()
            outcomes[target] = on_target(prepared, registry.get(target), place)
    worst = next((outcome for outcome in outcomes.values() if outcome.kind not in FINE), Outcome(PASSED))
    return Trial(worst.kind, worst.why, outcomes, prepared.operators)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """torch.cond is computed as it stands, and what libraries warn of is not our matter."""
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _of_front(error: Exception, folder: Path) -> Outcome:
    clear = isinstance(error, CompileError)
    return replace(of_error(error, "front", folder), kind=NOT_CAPTURED if clear else BROKEN)


def prepare(model: Model) -> Prepared:
    program: Any = open_program(Request(model.module()))
    plan = trace(program, model.specs(), None, seed=model.seed, effort="quick")
    reference = _answers(program, plan)
    operators = tuple(str(node.target) for node in program._exported.graph.nodes if node.op == "call_function")
    captured = driver.capture(program, plan)
    driver.optimize(captured)
    return Prepared(captured, reference, operators)


def _answers(program: Any, plan: ReferencePlan) -> Reference:
    """Without the probes: what a runtime makes of a NaN is no fault here, and no module is written with it in mind."""
    return replace(compute(program, plan, "PyTorch, eager"), edges=())


def on_target(prepared: Prepared, backend: Backend, folder: Path) -> Outcome:
    """Lower, build, open, run and hold the answer against PyTorch's, as the driver does with a model."""
    captured, stage = _copied(prepared.captured), "lower"
    try:
        _, graph, _ = driver.lower(captured, backend, folder, keep_provenance=False)
        stage = "build"
        artifact = backend.build(graph, captured.signature, {"threads": "1"}, folder)
        stage = "open"
        with CheckedSession(backend.open(artifact, folder, {"threads": "1"}), captured.signature) as session:
            stage = "run"
            return judged(prepared.reference, session)
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is the result
        if isinstance(error, PlumblineError) and error.code == "unsupported-op" and stage == "build":
            stage = "lower"  # by name, before the runtime has seen it
        return of_error(error, stage, folder)


def judged(reference: Reference, answer: Check) -> Outcome:
    verdict = judge(reference, answer, Terms())
    wrong = [output for output in verdict.outputs if not output.passed]
    return Outcome(WRONG, f"{wrong[0].output}: {wrong[0].why} ({wrong[0].case})") if wrong else Outcome(PASSED)


def _copied(captured: Captured) -> Captured:
    model = captured.model.clone()
    model.meta.update(captured.model.meta)  # what passes leave for later ones
    return replace(captured, model=model)


def whose_fault(model: Model) -> str:
    """For a wrong answer: whether the graph is wrong already when it leaves the frontend, or behind our passes."""
    with _undisturbed():
        program = open_program(Request(model.module()))
        plan = trace(program, model.specs(), None, seed=model.seed, effort="quick")
        reference = _answers(program, plan)
        captured = driver.capture(program, plan)
        for stage in ("the exporter", "a pass"):
            try:
                if judged(reference, Evaluator(captured.model, precise=False)).kind == WRONG:
                    return stage
            except PlumblineError as error:
                return f"unknown: {error.message}"
            if stage == "the exporter":
                driver.optimize(captured)
    return "the runtime, or what is done for it"
