"""`compile MODEL --target T`: the default command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli import console
from compiler.cli.options import configured, duration, for_target, limits, memory, speaking
from compiler.contracts import PassPlan, Ready
from compiler.errors import Exit, PlumblineError, UsageError, worst

if TYPE_CHECKING:
    from compiler.api import Result
    from compiler.job import Job
    from compiler.precision.recipe import Recipe
    from compiler.search.objective import Objective


@click.command(epilog="Defaults may stand in [tool.plumbline] of pyproject.toml, or in plumbline.toml.")
@click.argument("model")
@click.option("--target", "-t", help="what to compile for: one, several (a,b), all, or auto; see `compile targets`")
@click.option("--for", "goal", default="latency", show_default=True, help="auto: latency, throughput, size or memory")
@click.option("--max-latency", metavar="TIME", help="auto: how long a call may take, such as 5ms")
@click.option("--max-size", metavar="SIZE", help="auto: how large the artifact may be, such as 100M")
@click.option("--budget", metavar="TIME", help="auto: how long may be measured (30s); of precisions, searched (10m)")
@click.option("--input", "-i", "input_specs", multiple=True, metavar="SPEC", help="name:dtype[dims], or name=VALUE")
@click.option("--inputs", "data", metavar="FILE", help="real data to check with: .npz or .safetensors")
@click.option("--model", "factory", metavar="FILE.PY:NAME", help="what builds the module for a file of weights")
@click.option("--output", "-o", default="build", show_default=True, metavar="DIR", help="where the bundle goes")
@click.option("--name", help="what the bundle is called (default: after the model)")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="an option of the runtime")
@click.option("--effort", default="quick", show_default=True, help="how much is checked: quick, normal or thorough")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="of the drawn inputs")
@click.option("--lift-random", is_flag=True, help="what the model draws at random becomes inputs of it")
@click.option("--no-verify", is_flag=True, help="build only; nothing is known about the numbers then")
@click.option("--contract", multiple=True, metavar="[OUT:]METRIC>=N", help="decides in place of the error budget")
@click.option("--atol", type=float, metavar="N", help="an absolute tolerance in place of the error budget")
@click.option("--rtol", type=float, metavar="N", help="a relative tolerance in place of the error budget")
@click.option(
    "--precision", default="float32", show_default=True, help="float16, bfloat16, int8, int4, int8+bf16, auto"
)
@click.option("--method", default="auto", show_default=True, help="static, dynamic, rows, weights, rtn, gptq, awq")
@click.option("--calibration", metavar="DATA", help="data for lower precision: a file, a folder, or file.py:name")
@click.option("--calibrator", default="auto", show_default=True, help="int8: minmax, percentile, mse or entropy")
@click.option("--group-size", type=click.IntRange(min=1), default=64, show_default=True, help="weights to a scale")
@click.option("--keep", multiple=True, metavar="NAME", help="a layer that stays in float32; * stands for any text")
@click.option("--strict-edges", is_flag=True, help="fail where NaN, infinities and the like become something else")
@click.option("--require-run", is_flag=True, help="fail where the target can be built but not run")
@click.option("--passes", default="default", show_default=True, help="which passes run: default,-NAME,NAME or none")
@click.option("--expect", multiple=True, metavar="OP=N", help="fail unless the optimized graph holds so many of it")
@click.option("--explain", is_flag=True, help="what each pass changed and declined, and why")
@click.option("--dump-passes", metavar="DIR", help="the graph as text after every pass that changed something")
@click.option("--paranoid", is_flag=True, help="check the numbers after every pass, on plumbline's own evaluator")
@click.option("--translate", metavar="FILE.PY:TABLE", help="how operators of your own become ONNX")
@click.option("--trust", is_flag=True, help="run code that comes with the model: pickles, auto_map")
@click.option("--strip-provenance", is_flag=True, help="leave module paths and source lines out of the graph")
@click.option("--layers", is_flag=True, help="also look where precision is lost, layer by layer, for report.html")
@click.option("--no-bisect", is_flag=True, help="do not look where numbers that differ begin to (60 s at most)")
@limits
@speaking
@click.pass_context
def build(context: click.Context, /, **given: Any) -> int:
    """Compile MODEL for one target or several, and hold each result against PyTorch.

    MODEL is a .pt2, a TorchScript .pt, an .onnx, a Hugging Face folder, a file of weights together with --model,
    or file.py:factory. What it is, is told by its content.

    \b
      compile resnet.pt2 --target onnxruntime
      compile weights.pt --model mynet.py:build -t onnxruntime -i 'x:float32[batch=1..32,3,224,224]'
      compile ./minilm/ -t onnxruntime -i 'input_ids:int64[batch=1..16,seq=8..256]' \\
              -i 'attention_mask:int64[batch,seq]'
    """
    options = configured(context, given)
    if options["target"] is None:
        raise UsageError("no-target", "no target was given", hint="--target onnxruntime; `compile targets` lists them")
    if options["precision"] == "auto":
        return _choose_precision(options)
    if options["target"] == "auto":
        return _choose(options)
    jobs = [job_of(options, target) for target in targets_of(options["target"])]
    return _compile_one(options, jobs[0]) if len(jobs) == 1 else _compile_all(options, jobs)


def targets_of(text: str) -> list[str]:
    """`--target a,b` or `--target all`, which is every target that can be built here."""
    from backends import registry

    if text != "all":
        return list(dict.fromkeys(name.strip() for name in text.split(",")))
    return [name for name in registry.names() if isinstance(registry.probe(name), Ready)]


def job_of(options: dict[str, Any], target: str) -> Job:
    from compiler import api
    from compiler.frontend.examples import read_inputs
    from compiler.frontend.open import output_name
    from compiler.frontend.program import Request
    from compiler.frontend.specs import parse
    from compiler.job import Job
    from compiler.terms import asked

    model = options["model"]
    runtime_options = for_target(options["options"], target)
    api.check_choices(target, options["effort"], runtime_options)
    parse(options["input_specs"])
    recipe = recipe_of(options)
    return Job(
        request=Request(model, options["factory"], options["trust"], options["translate"]),
        target=target,
        place=Path(options["output"]) / f"{output_name(model, options['name'])}.{target}",
        inputs=tuple(options["input_specs"]),
        data=read_inputs(Path(options["data"])) if options["data"] else None,
        options=runtime_options,
        seed=options["seed"],
        effort=options["effort"],
        lift_random=options["lift_random"],
        verify=not options["no_verify"],
        keep_provenance=not options["strip_provenance"],
        require_run=options["require_run"],
        passes=_pass_plan(options, target),
        terms=asked(options["contract"], options["atol"], options["rtol"], strict_edges=options["strict_edges"]),
        recipe=recipe,
        calibration=options["calibration"],
        bisect=0 if options["no_bisect"] else api.BISECT_SECONDS,
        layers=options["layers"],
    )


def recipe_of(options: dict[str, Any]) -> Recipe:
    """What was asked of the precision; what only lower precision has a use for is refused without one."""
    from compiler.precision.recipe import Recipe, mixture

    precision, rest = mixture(options["precision"])
    recipe = Recipe(
        precision,
        options["method"],
        options["group_size"],
        calibrator=options["calibrator"],
        keep=tuple(options["keep"]),
        rest=rest,
        seed=options["seed"],
    )
    if recipe.precision == "float32":
        for name in ("calibration", "keep"):
            if options[name]:
                why = "nothing becomes lower in precision"
                raise UsageError("bad-option", f"--{name} means nothing here", why=why, hint="--precision int8")
    return recipe


def _choose(options: dict[str, Any]) -> int:
    """`--target auto`."""
    from compiler.auto import auto, runnable
    from compiler.report import auto as report

    objective = _objective(options)
    targets = runnable()
    jobs = {target: job_of(options, target) for target in targets}
    job = next(iter(jobs.values()))
    with console.progress(quiet=options["quiet"], as_json=options["as_json"]) as shown:
        chosen = auto(
            replace(job, place=job.place.with_suffix(".auto"), target="auto"),
            {target: one.options for target, one in jobs.items()},
            objective,
            budget=duration(options["budget"] or "30s", "--budget"),
            timeout=options["timeout"],
            memory_limit=memory(options["memory_limit"]),
            progress=shown,
        )
    told = report.to_json(chosen.choice, chosen.table.to_json(), chosen.failed)
    if options["as_json"]:
        console.show_json({"bundle": str(chosen.result.folder), **told, **chosen.result.manifest})
    else:
        report.show(chosen.result.folder, told, quiet=options["quiet"])
    return Exit.OK


def _objective(options: dict[str, Any]) -> Objective:
    from compiler.search.objective import Objective, goal

    size = options["max_size"]
    return Objective(
        goal(options["goal"]),
        duration(options["max_latency"], "--max-latency") if options["max_latency"] else None,
        memory(size) if size else None,
    )


def _choose_precision(options: dict[str, Any]) -> int:
    """`--precision auto`, for one target, several or `--target auto`."""
    from compiler.auto import runnable
    from compiler.auto_precision import auto_precision
    from compiler.report import mixes

    objective = _objective(options)
    targets = runnable() if options["target"] == "auto" else targets_of(options["target"])
    jobs = {target: job_of({**options, "precision": "int8"}, target) for target in targets}
    job = next(iter(jobs.values()))
    if len(jobs) > 1:
        job = replace(job, place=job.place.with_suffix(".auto"), target="auto")
    with console.progress(quiet=options["quiet"], as_json=options["as_json"]) as shown:
        chosen = auto_precision(
            job,
            {target: one.options for target, one in jobs.items()},
            objective,
            budget=duration(options["budget"] or "10m", "--budget"),
            timeout=options["timeout"],
            memory_limit=memory(options["memory_limit"]),
            progress=shown,
        )
    if options["as_json"]:
        console.show_json({"bundle": str(chosen.result.folder), **chosen.evidence, **chosen.result.manifest})
    else:
        mixes.show(chosen.result.folder, chosen.evidence, quiet=options["quiet"])
    return Exit.OK


def _pass_plan(options: dict[str, Any], target: str) -> PassPlan:
    expected: dict[str, int] = {}
    if options["passes"] != "default" or options["expect"]:  # what is not asked for need not be imported so early
        import backends
        from compiler.passes import choice, expectations

        choice.check(options["passes"], map(choice.name_of, backends.get(target).passes()))
        expected = expectations.parse(options["expect"])
    dump = Path(options["dump_passes"]) if options["dump_passes"] else None
    return PassPlan(options["passes"], dump, options["paranoid"], expected)


def _explain(options: dict[str, Any], manifest: Mapping[str, Any]) -> None:
    if options["explain"] and not options["as_json"]:
        from compiler.report import explain

        explain.show(manifest["passes"], manifest["artifact"]["facts"].get("declined", ()))


def _diagnosed(result: Result) -> dict[str, Any]:
    return {} if result.diagnosis is None else {"diagnosis": result.diagnosis.to_json()}


def _show_place(result: Result) -> None:
    """Where the numbers begin to differ."""
    if result.diagnosis is not None:
        console.show_answer(result.diagnosis.sentence, result.diagnosis.details())


def _compile_one(options: dict[str, Any], job: Job) -> int:
    from compiler import api
    from compiler.report import terminal

    limit = memory(options["memory_limit"])
    with console.progress(quiet=options["quiet"], as_json=options["as_json"]) as shown:
        result = api.run(job, timeout=options["timeout"], memory_limit=limit, progress=shown)
    if options["as_json"]:
        console.show_json({"bundle": str(result.folder), **_diagnosed(result), **result.manifest})
    else:
        _explain(options, result.manifest)
        terminal.show_result(result.folder, result.manifest, quiet=options["quiet"])
        _show_place(result)
    return Exit.OK if result.passed else Exit.DIFFERS


def _compile_all(options: dict[str, Any], jobs: list[Job]) -> int:
    """Every target in turn; what one cannot do is told, and the others go on."""
    from compiler import api
    from compiler.report import terminal

    limit, as_json = memory(options["memory_limit"]), options["as_json"]
    codes, told = [], []
    rows: list[terminal.Row] = []
    with console.progress(quiet=options["quiet"], as_json=as_json) as shown:
        results = list(api.run_all(jobs, timeout=options["timeout"], memory_limit=limit, progress=shown))
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, PlumblineError):
            codes.append(result.exit_code)
            told.append({"target": job.target, "error": result.to_json()})
            rows.append((job.target, result.code))
            if not as_json:
                console.show_error(result, as_json=False)
        else:
            _explain(options, result.manifest)
            codes.append(Exit.OK if result.passed else Exit.DIFFERS)
            told.append({"target": job.target, "bundle": str(result.folder), **_diagnosed(result), **result.manifest})
            rows.append((job.target, (result.folder, result.manifest)))
    if as_json:
        console.show_json({"results": told})
    else:
        for result in results:
            if not isinstance(result, PlumblineError):
                _show_place(result)
        terminal.show_comparison(rows)
    return worst(codes)
