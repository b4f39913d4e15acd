"""`compile cache`."""

from __future__ import annotations

from typing import Any

import click

from compiler import cache as kept
from compiler.cli import console
from compiler.cli.options import speaking
from compiler.errors import Exit


@click.command()
@click.option("--clear", is_flag=True, help="remove everything, or everything of --kind")
@click.option("--kind", metavar="NAME", help="only what is kept of this kind")
@speaking
def cache(clear: bool, kind: str | None, **given: Any) -> int:
    """What runtimes keep between builds, and how much room it takes."""
    from compiler.report import words

    place = kept.root()
    if clear:
        freed = kept.clear(kind)
        if given["as_json"]:
            console.show_json({"place": str(place), "freed": freed})
        else:
            click.echo(f"{words.size(freed)} freed")
        return Exit.OK
    totals: dict[str, list[int]] = {}
    for entry in kept.entries():
        if kind in (None, entry.kind):
            totals.setdefault(entry.kind, []).append(entry.size)
    if given["as_json"]:
        kinds = {name: {"entries": len(sizes), "bytes": sum(sizes)} for name, sizes in totals.items()}
        console.show_json({"place": str(place), "kinds": kinds})
        return Exit.OK
    click.echo(f"{place or 'turned off'}")
    for name, sizes in totals.items():
        click.echo(f"  {name:<24} {len(sizes):>4} entries  {words.size(sum(sizes)):>10}")
    return Exit.OK
