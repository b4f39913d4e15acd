"""`compile bench BUNDLE...` or `compile bench MODEL --targets all`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli import console
from compiler.cli.build import build, targets_of
from compiler.cli.options import configured, duration, for_target, limits, memory, speaking, write_text
from compiler.errors import Exit, PlumblineError, UsageError

if TYPE_CHECKING:
    from compiler.bench.subject import Asked
    from compiler.contracts import Progress


_OF_BUILD = {str(parameter.name) for parameter in build.params}


@click.command()
@click.argument("things", nargs=-1, required=True)
@click.option("--targets", "-t", help="compile MODEL for these first: a,b or all")
@click.option("--against", metavar="LIST", help="also time eager, inductor, onnxruntime, openvino")
@click.option("--model", metavar="MODEL", help="where the model of the bundles is, for --against")
@click.option("--input", "-i", "input_specs", multiple=True, metavar="SPEC", help="name:dtype[dims], or name=VALUE")
@click.option("--inputs", "data", metavar="FILE", help="real data to time with: .npz or .safetensors")
@click.option("--threads", metavar="1,2", help="threads of every contender (default: all cores)")
@click.option("--batch", metavar="1,8", help="sizes of the dim that is called batch")
@click.option("--size", "sizes", multiple=True, metavar="DIM=N,N", help="sizes of another dynamic dim")
@click.option("--clients", default="1", show_default=True, metavar="1,4", help="how many ask at the same time")
@click.option("--budget", default="20s", show_default=True, help="seconds that each table may take")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="an option of a runtime")
@click.option("--cores", metavar="0,1", help="hold every contender to these cores")
@click.option("--profile", is_flag=True, help="also where the time goes: by operator, and by module of the model")
@click.option("--output", "-o", default="build", show_default=True, metavar="DIR", help="where bundles of MODEL go")
@click.option("--trust", is_flag=True, help="run code that comes with the model: pickles, auto_map")
@click.option("--csv", "csv_file", metavar="FILE", help="the same figures, a line for each")
@click.option("--html", "page", metavar="FILE", help="the same as a page (with --targets: beside the bundles)")
@limits
@speaking
@click.pass_context
def bench(context: click.Context, /, **given: Any) -> int:
    """Time bundles of one model side by side, beside PyTorch or a plain export, with their errors.

    Each contender has a process of its own and the same threads. They are called in turns, so that a noisy machine
    hurts all alike; ratios come with the interval that holds 95 % of them.

    \b
      compile bench build/bert.onnxruntime build/bert.openvino --against eager,inductor
      compile bench model.pt2 --targets all --threads 1,2 --batch 1,8
    """
    from compiler.bench.profile import profiled
    from compiler.bench.run import Plan, bench, check_baselines
    from compiler.bench.setting import core_numbers, numbers, settings
    from compiler.bench.subject import read
    from compiler.frontend.examples import read_inputs

    options = configured(context, given, others=_OF_BUILD)
    against = tuple(word.strip() for word in (options["against"] or "").split(",") if word.strip())
    clients = tuple(numbers(options["clients"], "--clients"))
    budget = duration(options["budget"], "--budget")
    cores = core_numbers(options["cores"])
    data = read_inputs(Path(options["data"])) if options["data"] else None
    tables: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    try:
        with console.progress(quiet=options["quiet"], as_json=options["as_json"]) as shown:
            folders, asked = _bundles(options, shown)
            subject = read(folders, asked, lambda target: for_target(options["options"], target))
            check_baselines(against, subject)
            wanted = settings(subject.dims, subject.usual(data), options["sizes"], options["batch"], options["threads"])
            plan = Plan(against, clients, budget, data, cores)
            for table in bench(subject, wanted, plan, shown):
                tables += [table.to_json()]
            for setting in wanted if options["profile"] else ():
                profiles += [profiled(subject, setting, plan, shown).to_json()]
    finally:  # what was finished before an error or an interrupt is worth having
        _tell(tables, profiles, options)
    return Exit.OK if all(row["latency"] for one in tables for row in one["rows"]) else Exit.COMPILE


def _tell(tables: list[dict[str, Any]], profiles: list[dict[str, Any]], options: dict[str, Any]) -> None:
    from backends import host
    from compiler import record
    from compiler.report import bench as report
    from compiler.report import profile as report_of_profile
    from compiler.report import terminal

    if not tables:
        return
    if options["csv_file"]:
        report.write_csv(tables, Path(options["csv_file"]))
        if profiles:
            report_of_profile.write_csv(profiles, Path(options["csv_file"]).with_suffix(".operators.csv"))
    data = {"tables": tables, "profiles": profiles, "host": host.facts(), "versions": record.versions()}
    place = _page(options)
    if place is not None:
        from compiler.report.html import bench as html

        write_text(place, html.html(_title(options), data))
    if options["as_json"]:
        console.show_json(data)
        return
    for table in tables:
        report.show(table)
    for told in profiles:
        report_of_profile.show(told)
    if place is not None:
        terminal.say(f"With charts: {place}")
    for table in tables:
        terminal.say(report.sentence(table))


def _page(options: dict[str, Any]) -> str | None:
    """Where it was asked for; or beside the bundles that were made for this."""
    named: str | None = options["page"]
    if named is not None or options["targets"] is None:
        return named
    from compiler.frontend.open import output_name

    return str(Path(options["output"]) / f"{output_name(options['things'][0], None)}.bench.html")


def _title(options: dict[str, Any]) -> str:
    """What was compared."""
    return ", ".join(dict.fromkeys(Path(thing).name or thing for thing in options["things"]))


def _bundles(options: dict[str, Any], progress: Progress) -> tuple[list[Path], Asked | None]:
    """Those that were named, or those of a model that is compiled for this."""
    from compiler.bench.subject import Asked
    from compiler.frontend.program import Request

    constants = tuple(text for text in options["input_specs"] if ":" not in text.partition("=")[0])
    if options["targets"] is None:
        asked = Asked(Request(options["model"], trust=options["trust"]), constants) if options["model"] else None
        return [Path(thing) for thing in options["things"]], asked
    if len(options["things"]) > 1:
        raise UsageError("usage", "--targets goes with one MODEL", hint="leave --targets away to compare bundles")
    (model,) = options["things"]
    return _compiled(model, options, progress), Asked(Request(model, trust=options["trust"]), constants)


def _compiled(model: str, options: dict[str, Any], progress: Progress) -> list[Path]:
    """What fails for one target is told, and the others are timed."""
    from compiler import api

    targets = targets_of(options["targets"])
    found = api.compile_all(
        model,
        options["input_specs"] or None,
        targets=targets,
        output=options["output"],
        options={target: for_target(options["options"], target) for target in targets},
        trust=options["trust"],
        timeout=options["timeout"],
        memory_limit=memory(options["memory_limit"]),
        progress=progress,
    )
    failed = {target: result for target, result in found.items() if isinstance(result, PlumblineError)}
    for error in failed.values():
        console.show_error(error, as_json=False)
    if len(failed) == len(found):
        raise next(iter(failed.values()))
    return [result.folder for result in found.values() if not isinstance(result, PlumblineError)]
