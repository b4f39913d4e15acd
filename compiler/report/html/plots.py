"""The charts. Each has its numbers in a table beside it, and none needs its colours to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.report.html.markup import plain
from compiler.report.html.style import ACCENT, BAD, DIM, GOOD, HEAT, INK, LIGHT, RULE, WARN
from compiler.report.html.svg import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.27  # inches of height that a line of a chart takes
EDGE = 0.75  # inches above and below
_LONGEST = 34  # letters of a name; the table has all of it
MOST = 40  # lines of a chart


def short(name: str) -> str:
    """Names begin alike and end differently: the end is kept."""
    name = " ".join(plain(name).split())
    return name if len(name) <= _LONGEST else f"{name[:8]}…{name[-(_LONGEST - 9) :]}"


def _height(lines: int) -> float:
    return EDGE + _ROW * lines


def lines(axes: Axes, names: Sequence[str]) -> None:
    """One name below the other, at 0, 1, ..."""
    axes.set_yticks(range(len(names)), [short(name) for name in names], color=LIGHT[INK])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def on_a_log_scale(shares: Sequence[float]) -> list[float]:
    """Nothing at all has no place on it: it is drawn below the least of the others; and infinity above."""
    positive = [share for share in shares if 0 < share < math.inf]
    least, most = min(positive, default=0.01), max(positive, default=1.0)
    return [least / 3 if share == 0 else max(most, 1.0) * 10 if share == math.inf else share for share in shares]


def percent(share: float) -> str:
    if share > 10:
        return f"{share:,.0f} times"
    return f"{100 * share:,.0f}%" if share >= 1 else f"{100 * share:g}%"


def plain_ticks(axis: Any, form: str = "g") -> None:
    """0.2, 0.5, 10 and not powers of ten: as many of them as there is room for."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    steps = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 1.2 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(base=10, subs=steps))
    axis.set_major_formatter(lambda value, _: f"{value:{form}}")
    axis.set_minor_formatter(NullFormatter())


# -- a model's outputs, passes and layers -----------------------------------------------------------------------


def budgets(name: str, outputs: Sequence[tuple[str, Mapping[str, float]]]) -> Chart:
    """Outputs with their shares of the budget: of the worst element, the worst row, and the whole."""
    told = "; ".join(f"{output}: {max(shares.values()):.2g} of its budget" for output, shares in outputs)
    return Chart(
        name, "How much of the error budget each output uses", f"{told}.", _height(len(outputs)) + 0.2,
        lambda figure: _paint_budgets(figure, outputs),
    )  # fmt: skip


_MARKS = {"element": "D", "row": "s", "whole": "o"}


def _paint_budgets(figure: Figure, outputs: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    axes = figure.add_subplot()
    axes.set_xscale("log")
    flat = iter(on_a_log_scale([share for _, shares in outputs for share in shares.values()]))
    seen = set()
    for line, (_, shares) in enumerate(outputs):
        places = {kind: next(flat) for kind in shares}
        worst = max(places.values())
        colour = LIGHT[BAD if max(shares.values()) > 1 else ACCENT]
        axes.plot([min(places.values()), worst], [line, line], color=LIGHT[RULE], linewidth=3, zorder=1)
        for kind, place in places.items():
            label = kind if kind not in seen else f"_{kind}"
            axes.plot(place, line, _MARKS.get(kind, "o"), color=colour, markersize=5.5, label=label,
                      fillstyle="full" if place == worst else "none", linestyle="none")  # fmt: skip
            seen.add(kind)
    lines(axes, [output for output, _ in outputs])
    axes.axvline(1, color=LIGHT[BAD], linewidth=0.9, linestyle=(0, (5, 3)))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.005), max(high, 2))
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_xlabel("share of the error budget; the broken line is all of it")
    if len(seen) > 1:
        _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=4, frameon=False, fontsize=8, handletextpad=0.1,
                borderaxespad=0)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A pass that changed something."""

    name: str
    nodes: tuple[int, int]
    bytes: tuple[int, int]


def passes(name: str, steps: Sequence[Step]) -> Chart:
    told = "; ".join(f"{step.name}: {step.nodes[0]} to {step.nodes[1]} nodes, {step.bytes[0]} to {step.bytes[1]} bytes"
                     for step in steps)  # fmt: skip
    return Chart(name, "What the passes did", f"{told}.", _height(len(steps)), lambda figure: _fall(figure, steps))


def _fall(figure: Figure, steps: Sequence[Step]) -> None:
    """Each line goes on where the one above it ended."""
    left, right = figure.subplots(1, 2, sharey=True)
    unit, word = _unit(max(max(step.bytes) for step in steps))
    nodes = [step.nodes for step in steps]
    sizes = [(step.bytes[0] / unit, step.bytes[1] / unit) for step in steps]
    for axes, changes, label in ((left, nodes, "nodes"), (right, sizes, f"{word} of weights")):
        lines(axes, [step.name for step in steps])
        axes.set_xlabel(label)
        low, high = min(min(pair) for pair in changes), max(max(pair) for pair in changes)
        room = (high - low) or max(high * 0.1, 1.0)
        axes.set_xlim(max(low - 0.25 * room, 0), high + 0.25 * room)
        for line, (before, after) in enumerate(changes):
            colour = LIGHT[GOOD if after < before else WARN]
            axes.plot([before, before], [line - 0.75 if line else line - 0.4, line], color=LIGHT[DIM], linewidth=0.7)
            if after == before:
                axes.plot(before, line, "|", color=LIGHT[DIM], markersize=7)
                continue
            axes.barh(line, after - before, left=before, height=0.5, color=colour, linewidth=0)
            axes.annotate(f"{after - before:+.3g}".replace("-", "−"), (max(before, after), line), (4, 0),
                          textcoords="offset points", va="center", fontsize=8)  # fmt: skip


def _unit(size: float) -> tuple[int, str]:
    for power, word in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 2**power:
            return 2**power, word
    return 1, "bytes"


def layers(name: str, titles: Sequence[str], errors: Mapping[str, Sequence[float]]) -> Chart:
    """`errors` are relative ones at each place, in the order in which it is computed, for each who computed it."""
    told = "; ".join(f"{who}: from {values[0]:.2g} to {values[-1]:.2g}, at most {max(values):.2g} at "
                     f"{titles[int(np.argmax(values))]}" for who, values in errors.items())  # fmt: skip
    return Chart(
        name, "Where precision is lost", f"{told}.", 2.6 + 0.34 * len(errors),
        lambda figure: _paint_layers(figure, errors),
    )  # fmt: skip


_STYLES = ((ACCENT, "o", "-"), (WARN, "s", "--"), (DIM, "^", ":"))


def _paint_layers(figure: Figure, errors: Mapping[str, Sequence[float]]) -> None:
    heights = (5.5, len(errors) + 0.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    table = np.asarray([list(values) for values in errors.values()], dtype=float)
    least = table[table > 0].min() if (table > 0).any() else 1e-8
    drawn = np.maximum(table, least / 2)
    places = range(1, table.shape[1] + 1)
    for (who, _), values, (colour, mark, line) in zip(errors.items(), drawn, _STYLES, strict=False):
        above.plot(places, values, line, marker=mark, markersize=3.5, color=LIGHT[colour], linewidth=1.2, label=who)
    above.set(yscale="log", ylabel="relative error")
    above.margins(y=0.12)
    plain_ticks(above.yaxis, ".0e")
    above.grid(axis="y")
    _legend(above)
    steps = np.log10(drawn)
    span = float(steps.max() - steps.min()) or 1.0
    shades = ((steps - steps.min()) / span * (len(HEAT) - 1)).round().astype(int)
    for number, row in enumerate(shades):
        below.broken_barh([(place - 0.5, 1) for place in places], (number - 0.42, 0.84), linewidth=0,
                          facecolors=[LIGHT[HEAT[shade]] for shade in row])  # fmt: skip
    lines(below, list(errors))
    below.grid(visible=False)
    below.set_xlim(0.5, len(places) + 0.5)
    below.set_xlabel("place in the table below, in the order in which it is computed; darker or brighter: more is lost")


# -- operators, and cells of a check ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    words: str


def bars(name: str, title: str, label: str, found: Sequence[Bar]) -> Chart:
    told = "; ".join(f"{bar.name}: {bar.words}" for bar in found)
    return Chart(name, title, f"{told}.", _height(len(found)), lambda figure: _paint_bars(figure, found, label))


def _paint_bars(figure: Figure, found: Sequence[Bar], label: str) -> None:
    axes = figure.add_subplot()
    axes.barh(range(len(found)), [bar.value for bar in found], height=0.6, color=LIGHT[HEAT[4]], linewidth=0)
    for line, bar in enumerate(found):
        axes.annotate(short(bar.words), (bar.value, line), (4, 0), textcoords="offset points", va="center", fontsize=8)
    lines(axes, [bar.name for bar in found])
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)


@dataclass(frozen=True)
class Held:
    """A share of the budget, now and as it is held to."""

    name: str
    now: float
    before: float | None
    sound: bool


def against_the_lock(name: str, found: Sequence[Held]) -> Chart:
    told = "; ".join(
        f"{one.name}: {one.now:.2g}{f', {one.before:.2g} in the lock' if one.before is not None else ''}"
        for one in found
    )
    return Chart(
        name, "Of its error budget, now and in the lock", f"{told}.", _height(len(found)) + 0.2,
        lambda figure: _paint_held(figure, found),
    )  # fmt: skip


def _paint_held(figure: Figure, found: Sequence[Held]) -> None:
    axes = figure.add_subplot()
    axes.set_xscale("log")
    shares = [share for one in found for share in (one.now, one.now if one.before is None else one.before)]
    places = on_a_log_scale(shares)
    for line, (one, here, there) in enumerate(zip(found, places[::2], places[1::2], strict=True)):
        axes.plot([here, there], [line, line], color=LIGHT[RULE], linewidth=3, zorder=1)
        if one.before is not None:
            axes.plot(
                there, line, "|", color=LIGHT[INK], markersize=9, label="_" if line else "in the lock", linestyle="none"
            )
        axes.plot(here, line, "o" if one.sound else "X", color=LIGHT[ACCENT if one.sound else BAD], markersize=6,
                  label="_" if line else "now", linestyle="none")  # fmt: skip
    lines(axes, [one.name for one in found])
    axes.axvline(1, color=LIGHT[BAD], linewidth=0.9, linestyle=(0, (5, 3)))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.005), max(high, 2))
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_xlabel("share of the error budget; the broken line is all of it")
    _legend(axes)
