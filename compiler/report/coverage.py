"""Which targets take which of a model's operators, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from compiler.contracts import Coverage, Unavailable
from compiler.report.terminal import grid, page

AS_IS, EXPANDED, REFUSED = "yes", "expanded", "no"
_STYLES = {AS_IS: "green", EXPANDED: "yellow", REFUSED: "bold red"}

Found = Mapping[str, Coverage | Unavailable]


def to_json(operators: Mapping[str, int], found: Found) -> dict[str, Any]:
    return {"operators": dict(operators), "targets": {name: _one(operators, made) for name, made in found.items()}}


def _one(operators: Mapping[str, int], made: Coverage | Unavailable) -> dict[str, Any]:
    if isinstance(made, Unavailable):
        return {"available": False, "reason": made.reason, "remedy": made.remedy}
    return {
        "available": True,
        "takes_model": made.taken,
        "operators": {name: word(made, name) for name in operators},
        "refused": dict(made.refused),
        "where": made.where,
    }


def word(made: Coverage, operator: str) -> str:
    """How a target takes an operator: all of its nodes as they are, some through expansion, or not."""
    if operator in made.refused:
        return REFUSED
    return EXPANDED if made.expanded.get(operator) else AS_IS


def show(operators: Mapping[str, int], found: Found) -> None:
    output = page()
    known = {name: made for name, made in found.items() if isinstance(made, Coverage)}
    rows = grid("operator", "nodes", *known)
    for operator, count in operators.items():
        words = [word(made, operator) for made in known.values()]
        rows.add_row(operator, str(count), *(Text(text, style=_STYLES[text]) for text in words))
    whole = [AS_IS if made.taken else REFUSED for made in known.values()]
    rows.add_section()
    rows.add_row("the model", "", *(Text(text, style=_STYLES[text]) for text in whole))
    output.print(rows)
    for name, made in known.items():
        for what, why in made.refused.items():
            output.print(Text(f"{name} does not take {what}: {why}"))
        if made.where:
            output.print(Text(f"  where: {made.where}"))
    for name, state in found.items():
        if isinstance(state, Unavailable):
            output.print(Text(f"{name} is not known here: {state.reason}"))
            output.print(Text(f"  try: {state.remedy}"))
