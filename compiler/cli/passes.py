"""`compile passes`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from compiler.cli import console
from compiler.cli.options import speaking
from compiler.errors import Exit


@click.command()
@click.option("--target", "-t", help="also this target's own passes, which run after them")
@speaking
def passes(target: str | None, **given: Any) -> int:
    """The passes in the order in which they run: what each does, and why it stands where it stands.

    A group runs again and again until none of its passes changes anything. Optional ones run when they are named:
    `--passes default,NAME`; `--passes default,-NAME` leaves one out.
    """
    from compiler.passes import pipeline

    rows: list[dict[str, Any]] = [{**asdict(step), "does": step.summary(), "target": ""} for step in pipeline.DEFAULT]
    rows += _of_target(target) if target else []
    if given["as_json"]:
        console.show_json({"passes": rows})
        return Exit.OK
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            click.echo(f"\n  {group}: until nothing changes" if group else "")
        mark = " (optional)" if row["optional"] else f" ({row['target']})" if row["target"] else ""
        click.echo(f"{row['name']}{mark}\n    {row['does']}\n    {row['reason']}")
    return Exit.OK


def _of_target(target: str) -> list[dict[str, Any]]:
    import backends
    from compiler.passes.choice import name_of

    return [
        {
            "name": name_of(instance),
            "where": f"{type(instance).__module__}:{type(instance).__name__}",
            "reason": f"after the others, for {target} alone",
            "group": "",
            "optional": False,
            "does": _summary(type(instance).__module__),
            "target": target,
        }
        for instance in backends.get(target).passes()
    ]


def _summary(module: str) -> str:
    import importlib

    return " ".join((importlib.import_module(module).__doc__ or "").strip().partition("\n\n")[0].split())
