"""Runs the stages in order. It holds no policy: what each stage does is the stage's own business."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.bundle import REPRO
from compiler.contracts import (
    Arrays,
    Artifact,
    Backend,
    Captured,
    PassPlan,
    PassRecord,
    Progress,
    Ready,
    Reference,
    Signature,
    Source,
    Terms,
    Unavailable,
    Verdict,
)
from compiler.errors import CompileError, PlumblineError, UnavailableError, UnsupportedError
from compiler.frontend.program import Program, Request
from compiler.frontend.reference import ReferencePlan
from compiler.graph_files import GRAPH
from compiler.validate import contract
from compiler.validate.judge import judge
from compiler.validate.reopening import Reopening

if TYPE_CHECKING:
    import onnx_ir as ir

    from compiler.frontend.aside import Aside
    from compiler.passes.pipeline import Named, Step, Watch

HUB_OPSET = 24
AS_USUAL = PassPlan()
NO_TERMS = Terms()
_SOON = 3.0  # seconds


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
    lift_random: bool = False
    verify: bool = True
    keep_provenance: bool = True
    require_run: bool = False
    passes: PassPlan = AS_USUAL
    terms: Terms = NO_TERMS
    bisect: float = 0.0  # seconds that may be spent on where the numbers begin to differ

    @property
    def repro(self) -> Path:
        """Where what led to a failure is kept."""
        return self.place.with_name(self.place.name + REPRO)


@dataclass(frozen=True)
class Facts:
    """What the manifest tells of the way from the source to the graph that was built from."""

    signature: Signature
    source: Source
    plan: ReferencePlan
    passes: tuple[PassRecord, ...]
    operators: Mapping[str, int]  # of the optimized graph, before a target has touched it


@dataclass(frozen=True)
class Outcome:
    """What came of a job, before it is written down."""

    facts: Facts
    artifact: Artifact
    effective: Mapping[str, Any]
    reference: Reference | None
    verdict: Verdict


class Front:
    """A model on its way to any number of targets: the optimized graph, and the reference under way beside it."""

    def __init__(
        self,
        captured: Captured,
        plan: ReferencePlan,
        passes: list[PassRecord],
        answers: Aside[Reference] | None,
        watches: Sequence[Watch],
        operators: Mapping[str, int],
    ) -> None:
        self.signature = captured.signature
        self.source = captured.source
        self.plan = plan
        self.passes = passes
        self.watches = watches
        self.operators = operators
        self._captured: Captured | None = captured
        self._answers = answers
        self._reference: Reference | None = None

    def take(self, *, last: bool) -> Captured:
        """For one target to change. The last one gets the original: nobody holds the weights for it any longer."""
        captured = self._captured
        assert captured is not None
        if last:
            self._captured = None
            return captured
        model = captured.model.clone()
        model.meta.update(captured.model.meta)  # what passes leave for later ones
        return replace(captured, model=model)

    def reference(self, progress: Progress) -> Reference | None:
        """PyTorch's answers, computed once; None where nobody wanted them."""
        if self._reference is None and self._answers is not None:
            progress.stage("reference", f"{producer_of(self.source)}, and in float64; {self.plan.effort}")
            self._reference = self._answers.result()
        return self._reference

    def why_not(self, refused: UnsupportedError) -> PlumblineError:
        """A target may refuse what the model itself cannot compute; then that is the reason, if it is soon known."""
        if self._answers is not None and self._answers.ready(_SOON):
            try:
                self._answers.result()
            except PlumblineError as error:
                return error
        return refused


@contextmanager
def opened(job: Job, progress: Progress) -> Iterator[Front]:
    """From the source to the optimized graph, which no target has touched yet."""
    with ExitStack() as stack:
        yield _front(job, progress, stack)


def _front(job: Job, progress: Progress, stack: ExitStack) -> Front:
    from compiler.frontend.aside import Aside
    from compiler.frontend.open import open_program
    from compiler.passes.coverage import operators

    if not job.verify:
        contract.refuse_unheld(job.terms)
    progress.stage("load", job.request.label)
    program = open_program(job.request)
    progress.stage("trace", program.source.format)
    plan = traced(job, program)
    answers = None
    if job.verify:
        beside = job.effort == "quick"  # a longer sweep wants all cores, and gets them at its turn
        answers = stack.enter_context(Aside(lambda: _compute(program, plan), fork=beside))
    progress.stage("capture", program.source.route)
    captured = capture(program, plan)
    contract.fits(job.terms, captured.signature)
    progress.stage("optimize", f"{len(captured.model.graph)} nodes")
    watches = _watches(job, plan)
    records = optimize(captured, job.passes, watches=watches, repro=job.repro)
    return Front(captured, plan, records, answers, watches, operators(captured.model))


def _watches(job: Job, plan: ReferencePlan) -> tuple[Watch, ...]:
    from compiler.passes.watches import CheckNumbers, DumpGraphs, two_sizes

    watches: list[Watch] = []
    if job.passes.dump is not None:
        watches.append(DumpGraphs(job.passes.dump))
    if job.passes.paranoid:
        watches.append(
            CheckNumbers({f"{sizes or 'its size'}": plan.inputs(sizes, 0) for sizes in two_sizes(plan.dims)})
        )
    return tuple(watches)


def run(job: Job, backend: Backend, folder: Path, progress: Progress) -> Outcome:
    """Compile for one target and check; the native files end up in `folder`."""
    ready(job, backend)
    with opened(job, progress) as front:
        return finish(job, front, backend, folder, progress)


def finish(job: Job, front: Front, backend: Backend, folder: Path, progress: Progress, *, last: bool = True) -> Outcome:
    """What one target does with the model; `last` when no other target comes after it."""
    state = ready(job, backend)
    progress.stage("lower", f"for {job.target}")
    try:
        records, graph, words = lower(
            front.take(last=last),
            backend,
            folder,
            keep_provenance=job.keep_provenance,
            asked=job.passes,
            watches=front.watches,
            repro=job.repro,
        )
    except UnsupportedError as error:
        raise front.why_not(error) from error
    facts = Facts(front.signature, front.source, front.plan, (*front.passes, *records), front.operators)
    proof = None if state.runs else _prove_graph(front, graph, state, job.terms, progress)
    progress.stage("build", state.version)
    with _placed(words):
        artifact = backend.build(graph, front.signature, job.options, folder)
        shutil.rmtree(graph.parent, ignore_errors=True)
        if proof is not None:
            return Outcome(facts, artifact, {"runs": f"not here: {state.note}"}, *proof)
        # Before the runtime loads its own copy of the weights: the two need not be in memory together.
        reference = front.reference(progress)
        with Reopening(lambda: backend.open(artifact, folder, job.options)) as session:
            if reference is None:
                return Outcome(facts, artifact, session.effective, None, UNVERIFIED)
            progress.stage("verify", _asked(reference))
            return Outcome(facts, artifact, session.effective, reference, judge(reference, session, job.terms))


def ready(job: Job, backend: Backend) -> Ready:
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


def _prove_graph(
    front: Front, graph: Path, state: Ready, terms: Terms, progress: Progress
) -> tuple[Reference | None, Verdict]:
    """What can be said of an artifact that cannot run here: the very graph that is built from is the model's."""
    import onnx_ir as ir

    from compiler.ir.evaluate import Evaluator

    reference = front.reference(progress)
    if reference is None:
        return None, replace(UNVERIFIED, status="not run")
    progress.stage("verify", f"{_asked(reference)}, the graph on plumbline's evaluator")
    verdict = judge(reference, Evaluator(ir.load(graph), precise=False), terms)
    if not verdict.passed:
        return reference, verdict
    note = (
        f"built, not run ({state.note}): this verdict is about the graph that was built from, on plumbline's evaluator"
    )
    return reference, replace(verdict, status="not run", notes=(note, *verdict.notes))


def _asked(reference: Reference) -> str:
    probes = f" and {len(reference.edges)} probes" if reference.edges else ""
    took = f", which PyTorch took {reference.seconds:.0f} s for" if reference.seconds > 1 else ""
    return f"{len(reference.cases)} cases{probes}{took}"


UNVERIFIED = Verdict("skipped", (), 0, ("--no-verify was given: nothing is known about its numbers",))


def _compute(program: Program, plan: ReferencePlan) -> Reference:
    from compiler.frontend.reference import compute

    return compute(program, plan, producer_of(program.source))


def producer_of(source: Source) -> str:
    """Who gives the answers that an artifact is held against."""
    if source.format == "onnx":
        return "plumbline's evaluator"
    from importlib.metadata import version

    return f"PyTorch {version('torch')}, eager"


def traced(job: Job, program: Program) -> ReferencePlan:
    """The inputs that the job asks for, and the cases that they are checked with."""
    from compiler.frontend.prepare import trace

    return trace(program, job.inputs, job.data, seed=job.seed, effort=job.effort, lift_random=job.lift_random)


def capture(program: Program, plan: ReferencePlan) -> Captured:
    """The graph as it enters the pipeline."""
    from compiler.ir.verify import signature_of, verify
    from compiler.passes.name_sizes import LARGEST
    from compiler.passes.reshaping import MAY_BE_EMPTY
    from compiler.passes.simplify import DRAWS
    from compiler.passes.watches import two_sizes

    model = program.capture(HUB_OPSET)
    verify(model)
    model.meta[MAY_BE_EMPTY] = frozenset(name for name, dim in plan.dims.items() if dim.lo == 0)
    model.meta[LARGEST] = {name: dim.hi for name, dim in plan.dims.items()}
    model.meta[DRAWS] = lambda: [plan.inputs(sizes, 0) for sizes in two_sizes(plan.dims)]
    return Captured(model, signature_of(model, plan.dims), program.source)


def steps(source: Source, asked: PassPlan) -> Sequence[Step]:
    """The passes for every target."""
    from compiler.passes import choice

    return choice.parse(asked.choice, simplify=source.format == "onnx").steps()


def target_passes(backend: Backend, asked: PassPlan) -> list[Named]:
    """Legalisation and the target's own passes, which are made anew."""
    from compiler.passes import choice
    from compiler.passes.legalize import Legalize

    own = choice.chosen(backend.passes(), choice.parse(asked.choice))
    return [("legalize", Legalize(backend.legality, backend.name)), *own]


def optimize(
    captured: Captured, asked: PassPlan = AS_USUAL, *, watches: Sequence[Watch] = (), repro: Path | None = None
) -> list[PassRecord]:
    """What is good for every target, in place."""
    from compiler.ir.random import refuse_random
    from compiler.passes import expectations, pipeline

    records = pipeline.run(captured.model, steps(captured.source, asked), watches=watches, repro=repro)
    expectations.check(captured.model, asked.expect, records)
    refuse_random(captured.model)  # after the passes, so that a draw nobody uses does no harm
    return records


def lower(
    captured: Captured,
    backend: Backend,
    folder: Path,
    *,
    keep_provenance: bool,
    asked: PassPlan = AS_USUAL,
    watches: Sequence[Watch] = (),
    repro: Path | None = None,
) -> tuple[list[PassRecord], Path, dict[str, str]]:
    """Legalisation and the target's own passes; the result is a file for the backend to build from, and words about
    where each of its nodes comes from."""
    from compiler.ir.store import save
    from compiler.passes import pipeline

    model = captured.model
    records = pipeline.run_passes(model, target_passes(backend, asked), watches=watches, repro=repro)
    work = folder / ".graph"
    work.mkdir()
    words = _words(model)
    save(model, work / GRAPH, keep_provenance=keep_provenance)
    return records, work / GRAPH, words


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
