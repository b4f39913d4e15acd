"""`--target auto`: every target that runs here is built and verified, and timed; one is kept, with the evidence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends import registry
from compiler import api
from compiler import bundle as bundles
from compiler.bench.rows import Table
from compiler.bench.run import Plan, bench
from compiler.bench.setting import Setting
from compiler.bench.subject import Asked, Candidate, Subject, read
from compiler.contracts import Progress, Ready
from compiler.errors import PlumblineError, UsageError
from compiler.frontend.specs import parse
from compiler.job import Job
from compiler.report import auto as report
from compiler.report import files
from compiler.search.choose import Choice, choose
from compiler.search.objective import Objective
from compiler.search.variants import variants

TARGET = "auto"
EVIDENCE = "choice.json"


@dataclass(frozen=True)
class Chosen:
    result: api.Result
    choice: Choice
    table: Table
    failed: Mapping[str, PlumblineError | str]  # target -> why there is no artifact of it


def auto(
    job: Job,
    options: Mapping[str, Mapping[str, Any]],
    objective: Objective,
    *,
    budget: float,
    timeout: float,
    memory_limit: int | None,
    progress: Progress,
) -> Chosen:
    """`options` are those of each target."""
    if not job.verify:
        raise UsageError("bad-option", "auto chooses among what is proven", hint="leave --no-verify away")
    job.place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{job.place.name}-", dir=job.place.parent) as work:
        jobs = [
            replace(job, target=target, place=Path(work) / target, options=options.get(target, {}), page=False)
            for target in runnable()
        ]
        results = dict(
            zip(
                [one.target for one in jobs],
                api.run_all(jobs, timeout=timeout, memory_limit=memory_limit, progress=progress),
                strict=True,
            )
        )
        passed = {name: one for name, one in results.items() if isinstance(one, api.Result) and one.passed}
        failed = {name: _why(one) for name, one in results.items() if name not in passed}
        if not passed:
            raise next((error for error in failed.values() if isinstance(error, PlumblineError)), _nothing(failed))
        subject = _subject(job, [one.folder for one in passed.values()], objective)
        setting = Setting(os.cpu_count() or 1, subject.usual(job.data))
        plan = Plan(_baselines(job), (1, setting.threads), budget, job.data, longer=True)  # what was built is not lost
        (table,) = bench(subject, [setting], plan, progress)
        table = replace(table, rows=[replace(row, place="") for row in table.rows])  # folders that do not stay
        options_of = {name: candidate.options for name, candidate in subject.candidates.items()}
        choice = choose(table.rows, options_of, objective)
        candidate = subject.candidates[choice.row.name]
        progress.stage("write", str(job.place))
        limits = {"for": objective.goal, "max_latency": objective.max_latency, "max_size": objective.max_size}
        evidence = {**limits, **report.to_json(choice, table.to_json(), failed)}
        result = published(job, passed[candidate.bundle.artifact.target], candidate.options, evidence)
        return Chosen(result, choice, table, failed)


def runnable() -> list[str]:
    """Runtimes that are here; the evaluator is a judge, and no runtime."""
    found = {name: registry.probe(name) for name in registry.names()}
    return [name for name, state in found.items() if isinstance(state, Ready) and state.runs and name != "onnx"]


def _why(result: api.Result | PlumblineError) -> PlumblineError | str:
    return result if isinstance(result, PlumblineError) else "its numbers differ"


def _nothing(failed: Mapping[str, PlumblineError | str]) -> PlumblineError:
    from compiler.errors import CompileError

    why = "; ".join(f"{name}: {told}" for name, told in failed.items())
    return CompileError("no-candidate", "no target computes what the model computes", why=why)


def _subject(job: Job, folders: Sequence[Path], objective: Objective) -> Subject:
    found = read(folders, asked(job))
    candidates = {
        f"{name} {words}".strip(): Candidate(candidate.bundle, options)
        for name, candidate in found.candidates.items()
        for words, options in variants(candidate.bundle.artifact.target, objective.goal).items()
    }
    return replace(found, candidates=candidates)


def asked(job: Job) -> Asked:
    return Asked(job.request, tuple(f"{name}={value}" for name, value in parse(job.inputs).constants.items()))


def _baselines(job: Job) -> tuple[str, ...]:
    """What the choice must beat; an .onnx file has no PyTorch, and a live object is not known to another process."""
    if not isinstance(job.request.model, (str, os.PathLike)):
        return ()
    return ("onnxruntime",) if job.request.path.suffix == ".onnx" else ("eager",)


def published(
    job: Job, result: api.Result, options: Mapping[str, Any], evidence: Mapping[str, Any] | None
) -> api.Result:
    """A bundle at its place, with the options it was chosen with, and with what was measured."""
    manifest = {name: value for name, value in bundles.read(result.folder).manifest.items() if name != "files"}
    artifact = {**manifest["artifact"], "options": {**manifest["artifact"]["options"], **options}}
    manifest |= {"artifact": artifact}
    with bundles.staged(job.place) as folder:
        shutil.copytree(result.folder, folder, dirs_exist_ok=True)
        if evidence is not None:
            bundles.write_json(folder / EVIDENCE, evidence)
        files.write(folder, job.place.name, manifest, choice=evidence)
        bundles.seal(folder, manifest)
        place = bundles.publish(folder, job.place)
    return replace(result, folder=place, manifest=manifest)
