"""Runs the stages in order. It holds no policy: what each stage does is the stage's own business."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.contracts import (
    Array,
    Arrays,
    Artifact,
    Backend,
    Captured,
    PassRecord,
    Progress,
    Ready,
    Reference,
    Session,
    Signature,
    Source,
    Unavailable,
    Verdict,
)
from compiler.errors import CompileError, UnavailableError
from compiler.frontend.program import Program, Request
from compiler.frontend.reference import ReferencePlan
from compiler.graph_files import GRAPH

if TYPE_CHECKING:
    import onnx_ir as ir

    from compiler.frontend.aside import Aside

HUB_OPSET = 24


@dataclass(frozen=True)
class Job:
    """One model for one target, with everything the user asked for."""

    request: Request
    target: str
    place: Path
    inputs: tuple[str, ...] = ()  # --input
    data: Arrays | None = None  # --inputs
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    effort: str = "quick"
    verify: bool = True
    keep_provenance: bool = True
    require_run: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known once the graph is on disk."""

    signature: Signature
    source: Source
    plan: ReferencePlan
    passes: tuple[PassRecord, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a job, before it is written down."""

    facts: Facts
    artifact: Artifact
    effective: Mapping[str, Any]
    reference: Reference | None
    verdict: Verdict


def run(job: Job, backend: Backend, folder: Path, progress: Progress) -> Outcome:
    """Compile and check; the native files end up in `folder`."""
    state = _ready(job, backend)
    with ExitStack() as stack:
        front = _front(job, backend, folder, progress, stack)
        proof = None if state.runs else _prove_graph(front, state, progress)
        progress.stage("build", state.version)
        with _placed(front.words):
            artifact = backend.build(front.graph, front.facts.signature, job.options, folder)
            shutil.rmtree(front.graph.parent, ignore_errors=True)
            if proof is not None:
                return Outcome(front.facts, artifact, {"runs": f"not here: {state.note}"}, *proof)
            if front.reference is None:
                with backend.open(artifact, folder, job.options) as session:
                    return Outcome(front.facts, artifact, session.effective, None, UNVERIFIED)
            # Before the runtime loads its own copy of the weights: the two need not be in memory together.
            reference = _answers(front, front.reference, progress)
            with backend.open(artifact, folder, job.options) as session:
                progress.stage("verify", f"{len(reference.cases)} cases")
                verdict = judge(reference, session)
                return Outcome(front.facts, artifact, session.effective, reference, verdict)


def _ready(job: Job, backend: Backend) -> Ready:
    state = backend.probe()
    if isinstance(state, Unavailable):
        raise UnavailableError(
            "target-unavailable", f"{job.target} is not available", why=state.reason, hint=state.remedy
        )
    if job.require_run and not state.runs:
        raise UnavailableError(
            "cannot-run-here",
            f"{job.target} can be built here, but not run",
            why=state.note,
            hint="compile on a machine where it runs, or without --require-run",
        )
    return state


def _answers(front: _Front, reference: Aside[Reference], progress: Progress) -> Reference:
    progress.stage("reference", f"{front.producer}, and in float64; {front.facts.plan.effort}")
    return reference.result()


def _prove_graph(front: _Front, state: Ready, progress: Progress) -> tuple[Reference | None, Verdict]:
    """What can be said of an artifact that cannot run here: the very graph that is built from is the model's."""
    if front.reference is None:
        return None, replace(UNVERIFIED, status="not run")
    import onnx_ir as ir

    from compiler.ir.evaluate import Evaluator

    reference = _answers(front, front.reference, progress)
    progress.stage("verify", f"{len(reference.cases)} cases, the graph on plumbline's evaluator")
    evaluator = Evaluator(ir.load(front.graph), precise=False)
    verdict = compared(reference, [evaluator(case.inputs) for case in reference.cases])
    if not verdict.passed:
        return reference, verdict
    note = (
        f"built, not run ({state.note}): this verdict is about the graph that was built from, on plumbline's evaluator"
    )
    return reference, replace(verdict, status="not run", notes=(note, *verdict.notes))


@dataclass(frozen=True)
class _Front:
    """What is left of the model once its graph lies on disk: no weights, unless the reference still needs them."""

    facts: Facts
    graph: Path
    words: Mapping[str, str]  # where each node comes from
    reference: Aside[Reference] | None
    producer: str


def _front(job: Job, backend: Backend, folder: Path, progress: Progress, stack: ExitStack) -> _Front:
    """From the source to a graph that the backend can build, with the reference under way beside it."""
    from compiler.frontend.aside import Aside
    from compiler.frontend.open import open_program
    from compiler.frontend.prepare import trace

    progress.stage("load", job.request.label)
    program = open_program(job.request)
    progress.stage("trace", program.source.format)
    plan = trace(program, job.inputs, job.data, seed=job.seed, effort=job.effort)
    reference = None
    if job.verify:
        beside = job.effort == "quick"  # a longer sweep wants all cores, and gets them at its turn
        reference = stack.enter_context(Aside(lambda: _reference(program, plan), fork=beside))
    progress.stage("capture", program.source.route)
    captured = capture(program, plan)
    progress.stage("optimize", f"{len(captured.model.graph)} nodes")
    records, graph, words = lower(captured, backend, folder, keep_provenance=job.keep_provenance)
    return _Front(
        Facts(captured.signature, program.source, plan, tuple(records)), graph, words, reference, _producer(program)
    )


UNVERIFIED = Verdict("skipped", (), 0, ("--no-verify was given: nothing is known about its numbers",))


def _reference(program: Program, plan: ReferencePlan) -> Reference:
    from compiler.frontend.reference import compute

    return compute(program, plan, _producer(program))


def _producer(program: Program) -> str:
    if program.source.format == "onnx":
        return "plumbline's evaluator"
    from importlib.metadata import version

    return f"PyTorch {version('torch')}, eager"


def capture(program: Program, plan: ReferencePlan) -> Captured:
    """The graph as it enters the pipeline."""
    from compiler.ir.verify import signature_of, verify

    model = program.capture(HUB_OPSET)
    verify(model)
    return Captured(model, signature_of(model, plan.dims), program.source)


def lower(
    captured: Captured, backend: Backend, folder: Path, *, keep_provenance: bool
) -> tuple[list[PassRecord], Path, dict[str, str]]:
    """Passes, legalisation and the target's own passes; the result is a file for the backend to build from,
    and words about where each of its nodes comes from."""
    from compiler.ir.random import refuse_random
    from compiler.ir.store import save
    from compiler.passes import pipeline
    from compiler.passes.legalize import Legalize

    model = captured.model
    records = pipeline.run(model)
    refuse_random(model)  # after the passes, so that a draw nobody uses does no harm
    target = [("legalize", Legalize(backend.legality, backend.name))]
    target += [(type(instance).__name__, instance) for instance in backend.passes()]
    records += pipeline.run_passes(model, target)
    work = folder / ".graph"
    work.mkdir()
    words = _words(model)
    save(model, work / GRAPH, keep_provenance=keep_provenance)
    return records, work / GRAPH, words


def judge(reference: Reference, session: Session) -> Verdict:
    """Run every case and hold the answers against the reference."""
    return compared(reference, [session(case.inputs) for case in reference.cases])


def compared(reference: Reference, answers: list[dict[str, Array]]) -> Verdict:
    from compiler.validate.compare import compare

    verdict = compare(reference.cases, answers)
    return replace(verdict, notes=(*reference.notes, *verdict.notes))


def _words(model: ir.Model) -> dict[str, str]:
    """Where each node comes from, for when a runtime's message names one."""
    from compiler.ir.provenance import describe

    return {node.name: describe(node) for node in model.graph if node.name}


@contextmanager
def _placed(words: Mapping[str, str]) -> Iterator[None]:
    """An error that names one of our nodes says which line of the user's model it comes from."""
    try:
        yield
    except CompileError as error:
        if error.where is None and error.why:
            named = [name for name in re.findall(r"[\w./:-]+", error.why) if name in words]
            error.where = words[named[0]] if named else None
        raise
