"""What `--precision auto` tried, and which layers stayed high, as parts of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compiler.report import mixes
from compiler.report.html import plots
from compiler.report.html.markup import Markup, tag
from compiler.report.html.page import figure, note, table


def parts(choice: Mapping[str, Any]) -> Iterator[Markup]:
    yield table(mixes.HEAD, mixes.rows(choice), right="|".join(mixes.HEAD[1:-1]))
    yield note(
        "The contract and the error are those of the graph on plumbline's evaluator, at worst and on average over what "
        "was held back. What has no time was not built."
    )
    high = choice["high"]
    if not high:
        return
    bars = [plots.Bar(mixes.place(one), 100 * float(one["error"]), f"{float(one['error']):.2%}") for one in high]
    bars.sort(key=lambda bar: -bar.value)
    yield figure(
        plots.bars("high", f"What stayed in {high[0]['precision']}", "% of the outputs", bars[: plots.MOST]),
        "What the lowering of each of these layers alone would change in the model's outputs.",
    )
    rows = [(tag("code", mixes.place(one)), one["precision"], f"{float(one['error']):.3%}",
             "measured" if one["measured"] else "estimated") for one in high]  # fmt: skip
    yield table(("layer", "stayed in", "it would change", ""), rows, right="it would change")
