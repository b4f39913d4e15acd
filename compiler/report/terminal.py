"""The result on a terminal, within 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compiler import bundle as bundles
from compiler.contracts import Probe, Ready
from compiler.report import precision, words

_STYLES = {"passed": "green", "failed": "bold red"}


def page() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    # Piped output is as wide as a page; a terminal keeps its own width up to that.
    console.width = min(console.width, 100) if console.is_terminal else 100
    return console


def say(text: str) -> None:
    """A sentence, within the page."""
    page().print(Text(text))


def grid(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show_result(folder: Path, manifest: Mapping[str, Any], *, quiet: bool) -> None:
    console = page()
    verdict = manifest["verdict"]
    if not quiet:
        _outputs(console, verdict)
    _notes(console, verdict)
    _edge_behaviour(console, verdict)
    if manifest["precision"] is not None:
        console.print(Text(precision.summary(manifest["precision"])))
    files = manifest["artifact"]["files"]
    console.print(Text(f"{', '.join(files)}: {words.size(bundles.size(folder, files))}; for reading: {bundles.PAGE}"))
    told = f"{words.sentence(manifest).removesuffix('.')}; it is in {folder}."
    console.print(Text(told, style=_STYLES.get(verdict["status"], "yellow")))


# A target, and its bundle with the manifest, or the code of the error that it ended in.
Row = tuple[str, tuple[Path, Mapping[str, Any]] | str]


def show_comparison(rows: Sequence[Row]) -> None:
    """One line for each target: its bundle and what is known about it, or the error that it ended in."""
    console = page()
    table = grid("target", "verdict", "of its budget", "size", "bundle")
    table.columns[1].no_wrap = True
    edges = []
    for target, found in rows:
        if isinstance(found, str):
            table.add_row(target, Text(found, style="bold red"))
            continue
        folder, manifest = found
        verdict, artifact = manifest["verdict"], manifest["artifact"]
        edges += [f"{target}: {line}"] if (line := words.edge_behaviour(verdict)) else []
        worst = max((float(output["used"]) for output in verdict["outputs"]), default=None)
        table.add_row(
            target,
            Text(words.status(verdict["status"]), style=_STYLES.get(verdict["status"], "yellow")),
            words.percent(worst) if worst is not None else "",
            words.size(bundles.size(folder, artifact["files"])),
            str(folder),
        )
    console.print(table)
    for line in edges:
        console.print(Text(line))
    console.print(Text(_together(rows)))


def _together(rows: Sequence[Row]) -> str:
    """One plain sentence about all of them."""
    built = [found for _, found in rows if not isinstance(found, str)]
    good = [(folder, manifest) for folder, manifest in built if manifest["verdict"]["status"] == "passed"]
    places = " and ".join(dict.fromkeys(str(folder.parent) for folder, _ in built))
    if not built:
        return f"Built for none of {len(rows)} targets."
    return f"Built for {len(built)} of {len(rows)} targets, and {len(good)} passed; they are in {places}."


def show_verdict(bundle: str, verdict: Mapping[str, Any], *, quiet: bool) -> None:
    console = page()
    if not quiet:
        _outputs(console, verdict)
    _notes(console, verdict)
    _edge_behaviour(console, verdict)
    if verdict["status"] == "passed":
        console.print(Text(f"{bundle} still {words.promise(verdict)}: {verdict['cases']} cases.", style="green"))
    else:
        console.print(Text(f"{bundle} no longer {words.promise(verdict)}.", style="bold red"))


def _edge_behaviour(console: Console, verdict: Mapping[str, Any]) -> None:
    if edges := words.edge_behaviour(verdict):
        console.print(Text(edges, style="green" if all(edge["same"] for edge in verdict["edges"]) else "yellow"))


def _outputs(console: Console, verdict: Mapping[str, Any]) -> None:
    if not verdict["outputs"]:
        return
    table = grid("output", "verdict", "of its budget", "worst element", "got / want")
    for output in verdict["outputs"]:
        mark = Text(words.mark(output), style="green" if output["passed"] else "bold red")
        where = f"{output['why']} ({output['case']})" if output["case"] else output["why"]
        table.add_row(
            Text(output["output"]), mark, words.percent(output["used"]), Text(where), words.element(output["worst"])
        )
    console.print(table)


def _notes(console: Console, verdict: Mapping[str, Any]) -> None:
    for note in verdict["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))


def show_targets(probes: Mapping[str, Probe]) -> None:
    console = page()
    table = grid("target", "build", "run", "version", "devices", "precisions")
    for name, probe in probes.items():
        if isinstance(probe, Ready):
            runs = "yes" if probe.runs else "no"
            table.add_row(name, "yes", runs, probe.version, ", ".join(probe.devices), ", ".join(probe.reached))
        else:
            table.add_row(name, "no", "no", "", "", "")
    console.print(table)
    for name, probe in probes.items():
        if isinstance(probe, Ready):
            if probe.note:
                console.print(Text(f"{name}: {probe.note}"))
        else:
            console.print(Text(f"{name}: {probe.reason}"))
            console.print(Text(f"  try: {probe.remedy}"))
