"""`compile check [MANIFEST]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compiler.cli import console
from compiler.cli.options import limits, memory, speaking, write_text

if TYPE_CHECKING:
    from compiler.check.judge import Judged
    from compiler.check.manifest import Entry, Manifest
    from compiler.check.session import Done, Plan


@click.command()
@click.argument("manifest", required=False)
@click.option("--update", is_flag=True, help="write the lock: from now on the numbers are held to these")
@click.option("--lock", metavar="FILE", help="the lock (default: parity.lock beside the manifest)")
@click.option("--only", metavar="MODEL[,..]", help="only these models")
@click.option("--target", "-t", metavar="TARGET[,..]", help="only these targets")
@click.option("--size", type=click.Choice(["full", "small"]), help="which size of the models that have two")
@click.option("--effort", help="how much is checked: quick, normal or thorough")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="models side by side")
@click.option("--no-cache", is_flag=True, help="compile everything, also what has not changed")
@click.option("--output", "-o", default="build/check", show_default=True, metavar="DIR", help="where bundles go")
@click.option("--keep", is_flag=True, help="keep every bundle, not only those that fail")
@click.option("--junit", metavar="FILE", help="the result as JUnit XML")
@click.option("--markdown", metavar="FILE", help="the result as Markdown")
@click.option("--html", "page", metavar="FILE", help="the result as a page, with a chart")
@limits
@speaking
def check(manifest: str | None, **given: Any) -> int:
    """Compile the models of MANIFEST for their targets, and fail when the numbers drift.

    MANIFEST is a TOML file (default: parity.toml); beside it lies parity.lock, which the numbers are held to. Exit
    code 3 says that a number left its budget or got worse than the lock, that a fusion is gone or the precision is
    another one, or that a target did not run.

    \b
      compile check --update                       the first time: write the lock, look at it, commit it
      compile check
      compile check models/zoo.toml --jobs 2 --junit parity.xml
    """
    from backends import registry
    from compiler.check import judge, lock, session, update
    from compiler.check import manifest as manifests

    path = Path(manifest or manifests.DEFAULT)
    read = manifests.read(path, size=given["size"], effort=given["effort"])
    entries = read.chosen(_words(given["only"]), _words(given["target"]))
    _check_choices(entries)
    place = Path(given["lock"]) if given["lock"] else path.parent / lock.NAME
    locked = lock.read(place) if place.exists() or not given["update"] else {}

    done = []
    for one in session.run(entries, registry.probe, _plan(path, given)):
        done.append(one)
        if not (given["quiet"] or given["as_json"]):
            _tell(judge.judge(*one, locked), update=given["update"])
    done.sort(key=lambda one: _place(one, entries))
    judged = [judge.judge(*one, locked) for one in done]
    if entries == read.entries:
        judged += judge.gone(entries, locked)
    if given["update"]:
        new = update.updated(locked, judged)
        lock.write(place, new)
        click.echo(f"{place}: {update.described(locked, new)}", err=True)
        judged = [judge.judge(*one, new) for one in done]
    _report(judged, read, given)
    return judge.exit_code(judged)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _check_choices(entries: Sequence[Entry]) -> None:
    """What is mistyped is told before anything is compiled."""
    from compiler import api
    from compiler.errors import PlumblineError

    for entry in entries:
        for target in entry.targets:
            try:
                api.check_choices(target, entry.effort, entry.options.get(target, {}))
            except PlumblineError as error:
                error.where = error.where or f"[{entry.name}]"
                raise


def _plan(path: Path, given: dict[str, Any]) -> Plan:
    from backends import host
    from compiler.check import session
    from compiler.check.kept import Kept

    return session.Plan(
        output=Path(given["output"]),
        kept=None if given["no_cache"] else Kept(path.resolve().parent, host.facts()),
        jobs=given["jobs"],
        keep=given["keep"],
        timeout=given["timeout"],
        memory_limit=memory(given["memory_limit"]),
    )


def _place(done: Done, entries: Sequence[Entry]) -> tuple[int, int]:
    """Cells are shown as the manifest has them, whichever was done first."""
    entry, target, _ = done
    return entries.index(entry), entry.targets.index(target)


def _tell(judged: Judged, *, update: bool) -> None:
    from compiler.check.judge import acceptable
    from compiler.check.render import lines

    click.echo(lines.progress(judged, holds=acceptable(judged) if update else not judged.failed), err=True)


def _report(judged: Sequence[Judged], manifest: Manifest, given: dict[str, Any]) -> None:
    from backends import host
    from compiler.check.render import github, table
    from compiler.check.render.document import document
    from compiler.check.render.junit import junit
    from compiler.check.render.markdown import markdown
    from compiler.check.render.page import page

    if given["junit"]:
        write_text(given["junit"], junit(judged))
    if given["markdown"]:
        write_text(given["markdown"], markdown(judged, manifest.path))
    if given["page"]:
        write_text(given["page"], page(judged, manifest.path, host.facts()))
    github.add_to_summary(markdown(judged, manifest.path))
    if github.runs_here():
        for line in github.commands(judged, manifest.entries, manifest.path):
            click.echo(line, err=given["as_json"])
    if given["as_json"]:
        console.show_json(document(judged, manifest.path))
    else:
        table.show(judged, manifest.path, quiet=given["quiet"])
