"""Runs the stages in order. It holds no policy: what each stage does is the stage's own business."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.cases import Otherwise, Reference
from compiler.contracts import (
    Backend,
    Captured,
    Check,
    PassPlan,
    PassRecord,
    Progress,
    Ready,
    Route,
    Source,
    Unavailable,
)
from compiler.errors import CompileError, PlumblineError, UnavailableError, UnsupportedError
from compiler.frontend.program import Program
from compiler.frontend.reference import ReferencePlan, branch
from compiler.graph_files import GRAPH, NODES
from compiler.job import AS_USUAL, Facts, Job, Judged, LowPrecision, Outcome
from compiler.validate import contract
from compiler.validate.judge import judge, judge_either_way
from compiler.validate.reopening import Reopening
from compiler.verdicts import Verdict

if TYPE_CHECKING:
    import onnx_ir as ir

    from compiler.frontend.aside import Aside
    from compiler.frontend.calibration import Calibration
    from compiler.passes.pipeline import Named, Step, Watch
    from compiler.precision.apply import Lowered

HUB_OPSET = 24
_SOON = 3.0  # seconds


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
        calibration: Calibration | None = None,
        otherwise: Otherwise | None = None,
    ) -> None:
        self.signature = captured.signature
        self.source = captured.source
        self.plan = plan
        self.passes = passes
        self.watches = watches
        self.operators = operators
        self.calibration = calibration
        self.otherwise = otherwise
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
    plan, calibration = _calibrated(job, traced(job, program))
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
    # A program that decides nothing is let go, and its weights with it.
    otherwise = partial(branch, program) if job.verify and program.decides() else None
    return Front(captured, plan, records, answers, watches, operators(captured.model), calibration, otherwise)


def _calibrated(job: Job, plan: ReferencePlan) -> tuple[ReferencePlan, Calibration | None]:
    """Data that is held back joins the cases that PyTorch answers."""
    if job.calibration is None:
        return plan, None
    from compiler.frontend.calibration import read_calibration

    found = read_calibration(job.calibration, plan.specs)
    return replace(plan, given={**plan.given, **found.judged}, notes=(*plan.notes, *found.notes)), found


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
    captured = front.take(last=last)
    lowered, options = _in_precision(job, state, front, captured.model, progress)
    progress.stage("lower", f"for {job.target}")
    try:
        records, graph, words = lower(
            captured,
            backend,
            folder,
            keep_provenance=job.keep_provenance,
            asked=job.passes,
            watches=front.watches if lowered is None else (),  # which compare with the model in float32
            repro=job.repro,
        )
    except UnsupportedError as error:
        raise front.why_not(error) from error
    facts = Facts(front.signature, front.source, front.plan, (*front.passes, *records), front.operators)
    proof = None if state.runs else _prove_graph(job, front, graph, state, lowered, progress)
    progress.stage("build", state.version)
    with _placed(words):
        artifact = backend.build(graph, front.signature, options, folder)
        shutil.rmtree(graph.parent, ignore_errors=True)
        if proof is not None:
            return Outcome(facts, artifact, {"runs": f"not here: {state.note}"}, proof)
        # Before the runtime loads its own copy of the weights: the two need not be in memory together.
        reference = front.reference(progress)
        with Reopening(lambda: backend.open(artifact, folder, options)) as session:
            if reference is None:
                low = None if lowered is None else LowPrecision(lowered.recipe, lowered.layers)
                return Outcome(facts, artifact, session.effective, Judged(None, UNVERIFIED, low=low))
            progress.stage("verify", _asked(reference))
            return Outcome(facts, artifact, session.effective, _judged(job, front, reference, lowered, session))


def _in_precision(
    job: Job, state: Ready, front: Front, model: ir.Model, progress: Progress
) -> tuple[Lowered | None, Mapping[str, Any]]:
    """The graph in the precision that was asked for, in place unless the runtime sees to it; and options for that."""
    if job.recipe.precision == "float32":
        return None, job.options
    from compiler.precision.apply import lower_precision

    route = _route(job, state)
    recipe = replace(job.recipe, signed=route.signed, wide=route.wide)
    progress.stage("precision", " and ".join(recipe.mixed))
    samples = front.calibration.samples if front.calibration is not None else None
    by_itself = route.by == "option"
    lowered = lower_precision(model.clone() if by_itself else model, recipe, samples)
    return lowered, {**route.options, **job.options}


def _route(job: Job, state: Ready) -> Route:
    """Of a mixture, all that its parts need."""
    found = Route()
    for precision in job.recipe.mixed:
        route = state.route(precision)
        if isinstance(route, Unavailable):
            raise UnavailableError(
                "precision-unavailable",
                f"{job.target} does not compute in {precision} here",
                where="--precision",
                why=route.reason,
                hint=route.remedy,
            )
        found = found.joined(route)
    return found


def _judged(job: Job, front: Front, reference: Reference, lowered: Lowered | None, answer: Check) -> Judged:
    """Against the model. In lower precision against what was promised of it, and against the graph it is."""
    if lowered is None:
        asked, verdict = judge_either_way(reference, answer, job.terms, front.otherwise)
        return Judged(asked, verdict, job.terms)
    from compiler.precision import promised
    from compiler.precision.apply import fidelity

    terms = promised.completed(job.terms, front.signature, job.recipe.precision)
    held_back = front.calibration.judged if front.calibration is not None else {}
    asked = promised.on_real_data(reference, held_back)
    graph, faithful = fidelity(lowered, reference, answer)
    verdict = promised.both(judge(asked, answer, terms), faithful, terms, job.terms)
    return Judged(asked, verdict, terms, LowPrecision(lowered.recipe, lowered.layers, graph, faithful))


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
    job: Job, front: Front, graph: Path, state: Ready, lowered: Lowered | None, progress: Progress
) -> Judged:
    """What can be said of an artifact that cannot run here: the very graph that is built from is the model's."""
    import onnx_ir as ir

    from compiler.ir.evaluate import Evaluator

    reference = front.reference(progress)
    if reference is None:
        low = None if lowered is None else LowPrecision(lowered.recipe, lowered.layers)
        return Judged(None, replace(UNVERIFIED, status="not run"), low=low)
    progress.stage("verify", f"{_asked(reference)}, the graph on plumbline's evaluator")
    judged = _judged(job, front, reference, lowered, Evaluator(ir.load(graph), precise=False))
    if not judged.verdict.passed:
        return judged
    note = (
        f"built, not run ({state.note}): this verdict is about the graph that was built from, on plumbline's evaluator"
    )
    return replace(judged, verdict=replace(judged.verdict, status="not run", notes=(note, *judged.verdict.notes)))


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
    from compiler.ir.nodes import write_nodes
    from compiler.ir.store import save
    from compiler.passes import pipeline

    model = captured.model
    records = pipeline.run_passes(model, target_passes(backend, asked), watches=watches, repro=repro)
    work = folder / ".graph"
    work.mkdir()
    words = _words(model)
    write_nodes(model, folder / NODES, modules=keep_provenance)
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
