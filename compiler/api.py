"""The Python interface; with the command line the only place that knows both the pipeline and the targets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import backends
from backends import host, registry
from backends.isolated import DEFAULT_TIMEOUT, IsolatedBackend
from compiler import bundle as bundles
from compiler import driver, record, recorded, terms
from compiler.contracts import Coverage, PassPlan, Progress, Session, SilentProgress, Unavailable
from compiler.errors import (
    CompileError,
    PlumblineError,
    UnavailableError,
    UnsupportedError,
    UsageError,
    did_you_mean,
)
from compiler.frontend.handed_over import Inputs, eval_mode, inputs_of
from compiler.frontend.program import Request
from compiler.frontend.reference import EFFORTS
from compiler.frontend.specs import parse
from compiler.job import AS_USUAL, Job, Outcome
from compiler.precision import promised
from compiler.precision.recipe import Recipe, mixture
from compiler.report import files
from compiler.verdicts import Terms, Verdict

if TYPE_CHECKING:
    from compiler.diagnose.diagnosis import Diagnosis

BISECT_SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    """A finished bundle and what is known about it."""

    folder: Path
    verdict: Verdict
    manifest: Mapping[str, Any]
    diagnosis: Diagnosis | None = None  # where the numbers begin to differ, where that was looked for

    @property
    def passed(self) -> bool:
        return self.verdict.status != "failed"

    def session(self, **options: Any) -> Session:
        """Open the bundle for running, in this process."""
        return backends.load(self.folder, **options)


def compile(
    model: Any,
    inputs: Inputs | None = None,
    *,
    target: str,
    factory: str | None = None,
    output: str | os.PathLike[str] = "build",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    effort: str = "quick",
    lift_random: bool = False,
    verify: bool = True,
    trust: bool = False,
    translate: str | Mapping[Any, Any] | None = None,
    keep_provenance: bool = True,
    require_run: bool = False,
    strict_edges: bool = False,
    contract: str | Sequence[str] = (),
    atol: float | None = None,
    rtol: float | None = None,
    precision: str | Recipe = "float32",
    calibration: Any = None,
    passes: PassPlan = AS_USUAL,
    bisect: float = BISECT_SECONDS,
    layers: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Compile a model for one target and hold it against the reference.

    `model` is a path, a "file.py:factory" reference, an nn.Module or an ExportedProgram. `inputs` are specs such as
    "x:float32[batch=1..32,3]", or example tensors or arrays by name or in order; a file may bring its own. `translate`
    is a table from operators of your own to functions of onnxscript, or "file.py:TABLE".

    `contract` decides in place of the error budget: "cosine>=0.999", "logits:top1>=0.99", "file.py:name", or several;
    `atol` and `rtol` replace it as well.

    `precision` is float16, bfloat16, int8, int4 or int8+bf16, or a `Recipe` that also says how. `calibration` is data
    that ranges are measured and the result is judged on: a file, a folder of files, "file.py:name", or an iterable of
    dicts.

    A bundle whose numbers differ is kept apart as `<bundle>.rejected`, and `Result.passed` is False. Up to
    `bisect` seconds are then spent on where the difference begins; `Result.diagnosis` says it.
    """
    job = _job(
        model,
        inputs,
        target,
        factory=factory,
        output=output,
        name=name,
        options=options,
        trust=trust,
        translate=translate,
        seed=seed,
        effort=effort,
        lift_random=lift_random,
        verify=verify,
        keep_provenance=keep_provenance,
        require_run=require_run,
        strict_edges=strict_edges,
        contract=contract,
        atol=atol,
        rtol=rtol,
        precision=precision,
        calibration=calibration,
        passes=passes,
        bisect=bisect,
        layers=layers,
    )
    return run(job, timeout=timeout, memory_limit=memory_limit, progress=progress or SilentProgress())


def compile_all(
    model: Any,
    inputs: Inputs | None = None,
    *,
    targets: Sequence[str],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    memory_limit: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Result | PlumblineError]:
    """One model for several targets: captured and answered for once. A target that fails is in the result as its error.

    `options` are those of each target; everything else is as for `compile`.
    """
    jobs = [_job(model, inputs, target, options=(options or {}).get(target), **settings) for target in targets]
    results = run_all(jobs, timeout=timeout, memory_limit=memory_limit, progress=progress or SilentProgress())
    return dict(zip(targets, results, strict=True))


def coverage(
    model: Any,
    inputs: Inputs | None = None,
    *,
    factory: str | None = None,
    trust: bool = False,
    translate: str | Mapping[Any, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, int], dict[str, Coverage | Unavailable]]:
    """The operators of a model with how often they occur, and what each target would make of them. Nothing is built."""
    from compiler.passes.coverage import coverage, operators

    specs, data = inputs_of(model, inputs)
    job = Job(Request(model, factory, trust, translate), "", Path("inspected"), inputs=specs, data=data, verify=False)
    with eval_mode(model), driver.opened(job, progress or SilentProgress()) as front:
        graph = front.take(last=True).model
    found: dict[str, Coverage | Unavailable] = {}
    for name in backends.names():
        state = registry.probe(name)
        if isinstance(state, Unavailable):
            found[name] = state
        else:
            backend = backends.get(name)
            found[name] = coverage(graph, name, backend.legality, backend.passes())
    return operators(graph), found


def _job(
    model: Any,
    inputs: Inputs | None,
    target: str,
    *,
    factory: str | None = None,
    output: str | os.PathLike[str] = "build",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    trust: bool = False,
    translate: str | Mapping[Any, Any] | None = None,
    effort: str = "quick",
    contract: str | Sequence[str] = (),
    atol: float | None = None,
    rtol: float | None = None,
    strict_edges: bool = False,
    precision: str | Recipe = "float32",
    **settings: Any,
) -> Job:
    check_choices(target, effort, options or {})
    from compiler.frontend.open import output_name

    specs, data = inputs_of(model, inputs)
    parse(specs)
    return Job(
        Request(model, factory, trust, translate),
        target,
        Path(output) / f"{output_name(model, name)}.{target}",
        inputs=specs,
        data=data,
        options=dict(options or {}),
        effort=effort,
        recipe=_recipe(precision),
        terms=terms.asked(contract, atol, rtol, strict_edges=strict_edges),
        **settings,
    )


def _recipe(precision: str | Recipe) -> Recipe:
    if isinstance(precision, Recipe):
        return precision
    whole, rest = mixture(precision)
    return Recipe(whole, rest=rest)


def check_choices(target: str, effort: str, options: Mapping[str, Any]) -> None:
    """What is mistyped is told before anything is loaded."""
    backends.names()  # two backends of one name are an error, whichever is asked for
    known = backends.get(target).options()
    if unknown := [name for name in options if name not in known]:
        hint = did_you_mean(unknown[0], known) or (f"one of {', '.join(known)}" if known else None)
        raise UsageError("unknown-option", f"{target} has no option '{unknown[0]}'", hint=hint)
    if effort not in EFFORTS:
        hint = did_you_mean(effort, EFFORTS) or f"one of {', '.join(EFFORTS)}"
        raise UsageError("bad-option", f"there is no effort '{effort}'", hint=hint)


def run(job: Job, *, timeout: float, memory_limit: int | None, progress: Progress) -> Result:
    """Build in a folder beside the bundle's place, write everything down, and move it there."""
    with eval_mode(job.request.model):
        with _staged(job, timeout, memory_limit, progress) as (backend, folder):
            try:
                outcome = driver.run(job, backend, folder, progress)
            except UnsupportedError as error:
                raise _with_other_targets(error, job.target) from error.__cause__
            result = _publish(job, outcome, folder, backend, progress)
        return _with_place(job, outcome, result, memory_limit, progress)


def run_all(
    jobs: Sequence[Job], *, timeout: float, memory_limit: int | None, progress: Progress
) -> Iterator[Result | PlumblineError]:
    """One model for several targets: it is loaded, captured and answered for once. One that fails stops no other."""
    with eval_mode(jobs[0].request.model), driver.opened(jobs[0], progress) as front:
        for job in jobs:
            last = job is jobs[-1]
            result: Result | PlumblineError
            try:
                result = finish(job, front, last=last, timeout=timeout, memory_limit=memory_limit, progress=progress)
            except PlumblineError as error:
                result = _with_other_targets(error, job.target)
            yield result


def finish(
    job: Job, front: driver.Front, *, last: bool, timeout: float, memory_limit: int | None, progress: Progress
) -> Result:
    """What one target does with a model that is open; `last` when nobody comes after it."""
    with _staged(job, timeout, memory_limit, progress) as (backend, folder):
        outcome = driver.finish(job, front, backend, folder, progress, last=last)
        published = _publish(job, outcome, folder, backend, progress)
    return _with_place(job, outcome, published, memory_limit, progress)


def _with_other_targets(error: PlumblineError, target: str) -> PlumblineError:
    """Which targets take what this one refused, as far as their tables tell."""
    if not isinstance(error, UnsupportedError) or not error.refused:
        return error
    from compiler.passes.legalize import takes

    able = []
    for name in registry.names():
        with suppress(UnavailableError):  # a target that cannot be imported takes nothing
            if name != target and takes(backends.get(name).legality, error):
                able.append(name)
    if able:
        error.hint = f"--target {' or '.join(able)}, or a model without {', '.join(error.refused)}"
    return error


@contextmanager
def _staged(
    job: Job, timeout: float, memory_limit: int | None, progress: Progress
) -> Iterator[tuple[IsolatedBackend, Path]]:
    bundles.remove_leftovers(job.place)
    repro = job.place.with_name(job.place.name + bundles.REPRO)
    with (
        IsolatedBackend(
            job.target, repro=repro, timeout=timeout, memory_limit=memory_limit, progress=progress
        ) as backend,
        bundles.staged(job.place) as folder,
    ):
        yield backend, folder


def _publish(job: Job, outcome: Outcome, folder: Path, backend: IsolatedBackend, progress: Progress) -> Result:
    from compiler.layers import look

    layers = look(job, outcome, backend, progress) if job.layers else None
    progress.stage("write", str(job.place))
    manifest = write(job, outcome, folder, layers)
    failed = outcome.verdict.status == "failed"
    place = job.place.with_name(job.place.name + bundles.REJECTED) if failed else job.place
    published = bundles.publish(folder, place)
    if not failed:
        bundles.forget_failures(job.place)
    return Result(published, outcome.verdict, manifest)


def bisect(job: Job, *, timeout: float, memory_limit: int | None, progress: Progress) -> Diagnosis:
    """Compile without keeping the bundle, and find where the numbers begin to differ, if they do."""
    with eval_mode(job.request.model):
        with _staged(job, timeout, memory_limit, progress) as (backend, folder):
            outcome = driver.run(job, backend, folder, progress)
        if outcome.verdict.status != "failed":
            from compiler.bisection import nothing_differs

            return nothing_differs(outcome)
        return _locate(job, outcome, memory_limit, progress)


def _locate(job: Job, outcome: Outcome, memory_limit: int | None, progress: Progress) -> Diagnosis:
    """In a child of its own: what it breaks on is nothing that a user should be told."""
    from compiler.bisection import locate

    with (
        TemporaryDirectory() as work,
        IsolatedBackend(
            job.target, repro=Path(work) / "repro", timeout=job.bisect, memory_limit=memory_limit
        ) as backend,
    ):
        return locate(job, outcome, backend, Path(work), job.bisect, progress)


def _with_place(job: Job, outcome: Outcome, result: Result, memory_limit: int | None, progress: Progress) -> Result:
    """Of a result that was rejected, where the difference begins."""
    if result.passed or not job.bisect or job.recipe.precision != "float32":
        return result
    try:
        return replace(result, diagnosis=_locate(job, outcome, memory_limit, progress))
    except PlumblineError as error:
        progress.note(f"where the difference begins could not be found: {error.message}")
        return result


def write(job: Job, outcome: Outcome, folder: Path, layers: dict[str, Any] | None = None) -> dict[str, Any]:
    from compiler.validate import stored

    manifest = record.manifest(job, outcome, host.facts())
    if outcome.reference is not None:
        kept = outcome.reference
        stored.write(kept.cases, folder / bundles.REFERENCE, outcome.judged.terms, kept.edges)
    low = outcome.judged.low
    if low is not None and low.reference is not None:
        stored.write(low.reference.cases, folder / bundles.REFERENCE / bundles.LOWERED)
    page = job.page or outcome.verdict.status == "failed"
    files.write(folder, job.place.name, manifest, page=page, layers=layers)
    bundles.seal(folder, manifest)
    return manifest


def verify(
    folder: str | os.PathLike[str],
    *,
    options: Mapping[str, Any] | None = None,
    trust: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Run a finished bundle against the reference that it carries, on the terms that it was compiled on.

    Torch is not needed for it. `trust` runs the user's own function, where the bundle's contract names one.
    """
    from compiler.validate import stored
    from compiler.validate.judge import judge_again
    from compiler.validate.reopening import Reopening

    progress = progress or SilentProgress()
    bundle = bundles.read(Path(folder))
    progress.stage("load", str(folder))
    bundles.check(bundle)
    reference = bundle.manifest["reference"]
    if reference is None:
        raise CompileError(
            "no-reference",
            f"'{folder}' carries no reference to verify against",
            why="it was compiled with --no-verify",
            hint="compile it again without --no-verify",
        )
    agreed = recorded.agreed(bundle, trust=trust)
    kept = stored.read_reference(
        bundle.folder / bundles.REFERENCE, recorded.plan(bundle).inputs, reference.get("notes", ())
    )
    artifact = bundle.artifact
    settings = {**artifact.options, **(options or {})}
    repro = bundle.folder.with_name(bundle.folder.name + bundles.REPRO)
    with IsolatedBackend(artifact.target, repro=repro, timeout=timeout, memory_limit=memory_limit) as backend:
        progress.stage("open", artifact.runtime)
        with Reopening(lambda: backend.open(artifact, bundle.folder, settings)) as session:
            probes = f" and {len(kept.edges)} probes" if kept.edges else ""
            progress.stage("verify", f"{len(kept.cases)} cases{probes}")
            verdict = judge_again(kept, session, agreed)
            lowered = bundle.folder / bundles.REFERENCE / bundles.LOWERED
            if not lowered.is_dir():
                return verdict
            graph = stored.read_reference(lowered, recorded.plan(bundle).inputs)
            return promised.both(verdict, judge_again(graph, session, Terms()), agreed, agreed)
