"""The charts of what was timed: speed against error, and how long the calls took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.report.html.plots import EDGE, lines, on_a_log_scale, percent, plain_ticks, short
from compiler.report.html.style import ACCENT, BAD, DIM, GOOD, HEAT, INK, LIGHT
from compiler.report.html.svg import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    name: str
    seconds: float
    used: float  # share of the error budget
    sound: bool  # its numbers are within their budget


def front(points: Sequence[Point]) -> list[Point]:
    """Those of which no other is both faster and more exact; the fastest first."""
    found: list[Point] = []
    for point in sorted((one for one in points if one.sound), key=lambda one: (one.seconds, one.used)):
        if not found or point.used < found[-1].used:
            found.append(point)
    return found


def speed_and_error(name: str, points: Sequence[Point]) -> Chart:
    best = front(points)
    told = "; ".join(f"{one.name}: {1000 * one.seconds:.3g} ms, {one.used:.2g} of its budget" for one in points)
    return Chart(
        name, "Speed against error", f"{told}. On the front: {', '.join(one.name for one in best)}.", 3.8,
        lambda figure: _paint_points(figure, points, best),
    )  # fmt: skip


def _paint_points(figure: Figure, points: Sequence[Point], best: Sequence[Point]) -> None:
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", xlabel="milliseconds of a call, median", ylabel="share of the error budget")
    heights = on_a_log_scale([point.used for point in points])
    places = [(1000 * point.seconds, height) for point, height in zip(points, heights, strict=True)]
    axes.grid(visible=True)
    axes.axhline(1, color=LIGHT[BAD], linewidth=0.9, linestyle=(0, (5, 3)))
    axes.annotate("the whole budget", (1, 1), (-2, 3), ("axes fraction", "data"), "offset points", ha="right",
                  color=LIGHT[BAD], fontsize=8)  # fmt: skip
    for point, place in zip(points, places, strict=True):
        colour = BAD if not point.sound else GOOD if point in best else DIM
        axes.plot(*place, "o" if point.sound else "X", color=LIGHT[colour], markersize=7,
                  fillstyle="full" if point in best or not point.sound else "none")  # fmt: skip
    corners = [place for point, place in zip(points, places, strict=True) if point in best]
    axes.step([x for x, _ in corners], [y for _, y in corners], where="post", color=LIGHT[GOOD], linewidth=1.4)
    times = [x for x, _ in places]
    axes.set_xlim(min(times) / 1.5, max(times) * 1.5)
    axes.margins(y=0.16)
    plain_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(lambda value, _: percent(value))
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    figure.draw_without_rendering()
    _name_points(axes, points, places)


def _name_points(axes: Axes, points: Sequence[Point], places: Sequence[tuple[float, float]]) -> None:
    """Above its point, where the front does not run, and not on another name."""
    marks = [axes.transData.transform(place) for place in places]
    taken: list[tuple[float, float, float]] = [(x - 6, x + 6, y) for x, y in marks]
    low, high = axes.get_xlim()
    middle = (low * high) ** 0.5
    for point, place in sorted(zip(points, places, strict=True), key=lambda pair: pair[1][1]):
        label = short(point.name) + (" (exact)" if point.used == 0 else "")
        x, y = axes.transData.transform(place)
        side = "right" if place[0] > middle else "left"
        width = _LETTER * len(label)
        start = x - width if side == "right" else x
        at = y + _ABOVE
        while any(abs(at - other) < _LINE and start < end and begin < start + width for begin, end, other in taken):
            at += 4
        taken.append((start, start + width, at))
        beside = (-6 if side == "right" else 6, (at - y) * 72 / axes.figure.dpi)
        far = at - y > _ABOVE + _LINE / 2  # then a thin line says whose name it is
        leader = {"arrowstyle": "-", "color": LIGHT[DIM], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4} if far else None
        axes.annotate(label, place, beside, textcoords="offset points", ha=side, va="center", fontsize=8.5,
                      arrowprops=leader)  # fmt: skip


_LETTER, _LINE, _ABOVE = 7.5, 15, 15  # pixels


# -- latency ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calls:
    """How long the calls of one contender took: its percentiles from 0 to 100, in seconds."""

    name: str
    percentiles: Sequence[float]


_BINS = 140


def latencies(name: str, found: Sequence[Calls]) -> Chart:
    told = "; ".join(f"{one.name}: half of its calls took less than {1000 * one.percentiles[50]:.3g} ms, "
                     f"99 % less than {1000 * one.percentiles[99]:.3g}" for one in found)  # fmt: skip
    height = EDGE + 0.5 * len(found)
    return Chart(name, "How long the calls took", f"{told}.", height, lambda figure: _paint_calls(figure, found))


def _paint_calls(figure: Figure, found: Sequence[Calls]) -> None:
    """A hill for each; a bar at its median, a tick at 99 %."""
    axes = figure.add_subplot()
    shown = [1000 * np.asarray(one.percentiles) for one in found]
    # The slowest call in a hundred may have taken any time; it would press the others to one side.
    low, high = min(each[0] for each in shown) / 1.05, max(each[99] for each in shown) * 1.05
    bins = np.geomspace(low, high, _BINS + 1)
    middles = np.sqrt(bins[1:] * bins[:-1])
    for line, each in enumerate(shown):
        hill = _density(each, bins)
        axes.fill_between(middles, line + 0.3, line + 0.3 - 0.75 * hill, color=LIGHT[HEAT[2]], linewidth=0)
        axes.plot(middles, line + 0.3 - 0.75 * hill, color=LIGHT[ACCENT], linewidth=0.9)
        axes.plot([each[50], each[50]], [line - 0.35, line + 0.3], color=LIGHT[INK], linewidth=1.6)
        axes.plot([each[99], each[99]], [line + 0.12, line + 0.3], color=LIGHT[INK], linewidth=1.0)
        axes.annotate(f"{each[50]:.3g}", (each[50], line - 0.35), (3, -1), textcoords="offset points", fontsize=8,
                      va="top")  # fmt: skip
    lines(axes, [one.name for one in found])
    axes.set(xscale="log", xlabel="milliseconds of a call; the tall bar is the median, the short one 99 %")
    axes.set_xlim(low, high)
    plain_ticks(axes.xaxis)


def _density(percentiles: Any, bins: Any) -> Any:
    """The share of calls in each bin, the highest as 1."""
    drawn = np.interp(np.linspace(0, 100, 8001), np.arange(len(percentiles)), percentiles)
    counts = np.histogram(drawn, bins)[0].astype(float)
    window = np.hanning(9)
    smooth = np.convolve(counts, window / window.sum(), "same")
    return smooth / max(smooth.max(), 1.0)
