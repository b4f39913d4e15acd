"""What the cells of bench_zoo.py say together: docs/benchmarks.md with its picture, and the bounds that must hold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.measure.paired import Ratio, ratio

Cell = Mapping[str, Any]  # what zoo_cell.measured gives

PAGE, PICTURE = "benchmarks.md", "benchmarks.svg"
OTHERS = {
    "eager": "eager",
    "inductor": "torch.compile",
    "plain onnxruntime": "plain ORT",
    "plain openvino": "plain OpenVINO",
}
OURS = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tvm": "tvm", "auto": "auto"}

# What is held against what: the lower end of the interval may not be above the bound.
HELD = (
    ("onnxruntime", "plain onnxruntime", 1.02),
    ("openvino", "plain openvino", 1.02),
    ("tvm", "onnxruntime", 1.10),
)
AUTO_BOUND = 1.02  # of the best of the others
GEOMEAN = ("bert", "minilm", "resnet50", "mobilenetv2", "convnext", "vit", "gpt2", "t5_encoder", "llama", "lstm")
GEOMEAN_BOUND = 0.94


def bursts(cell: Cell) -> dict[str, Sequence[float]]:
    return {row["name"]: row["bursts"] for row in cell["table"]["rows"] if row["bursts"]}


def best(cell: Cell) -> str | None:
    """The fastest of those that plumbline is no part of."""
    found = {name: taken for name, taken in bursts(cell).items() if name in OTHERS}
    return min(found, key=lambda name: statistics.median(found[name]), default=None)


def held(cell: Cell, name: str, against: str | None) -> Ratio | None:
    taken = bursts(cell)
    return ratio(taken[name], taken[against]) if against and name in taken and against in taken else None


def broken(cells: Sequence[Cell]) -> Iterator[str]:
    """In words, each bound that does not hold."""
    for cell in cells:
        for name, against, bound in (*HELD, ("auto", best(cell), AUTO_BOUND)):
            found = held(cell, name, against)
            if found is not None and found.low > bound:
                yield f"{_label(cell)}: {name} takes {found} of {against}, and may take {bound}"
    mean = geomean(cells)
    if mean is not None and mean > GEOMEAN_BOUND:
        yield f"the geometric mean of auto by the best of the others is {mean:.3f}, and may be {GEOMEAN_BOUND}"


def geomean(cells: Sequence[Cell]) -> float | None:
    """Of auto by the best of the others, over all cells of the ten models."""
    ratios = [held(cell, "auto", best(cell)) for cell in cells if cell["cell"]["model"] in GEOMEAN]
    values = [found.value for found in ratios if found is not None]
    return statistics.geometric_mean(values) if values else None


# -- the page ---------------------------------------------------------------------------------------------------


def write(cells: Sequence[Cell], docs: Path, code: str, missing: Sequence[str] = ()) -> None:
    """`missing` are the rows that are not measured yet, and `code` is that of today."""
    (docs / PAGE).write_text(page(cells, code, missing), encoding="utf-8")
    if cells:
        (docs / PICTURE).write_text(picture(cells), encoding="utf-8")


def page(cells: Sequence[Cell], code: str, missing: Sequence[str] = ()) -> str:
    figures = [*_figures(cells, code), *_gaps(len(cells), missing)] if cells else [_NONE]
    return "\n".join([_HEAD, *figures]) + "\n"


_HEAD = """\
# How fast

`make bench-zoo` writes this page. Each row is one model of `models/zoo.toml` at full size, at one choice of sizes, in
float32. Everything in a row is timed in turns in one run, each in a process of its own, as `compile bench` does it:
[how](bench.md#how-it-is-measured). Figures are times, as ratios to the best of the four that plumbline is no part of,
with the interval that holds 95 % of a bootstrap over the rounds: 0.90 takes nine tenths of the time.

| column | what it is |
|---|---|
| eager | the module itself, in inference mode |
| torch.compile | the same, compiled by inductor |
| plain ORT | `torch.onnx.export` with its defaults, on ONNX Runtime with its defaults |
| plain OpenVINO | OpenVINO's own conversion of the exported program, in float32 |
| onnxruntime, openvino, tvm | bundles of plumbline, as they come |
| auto | what `--target auto` chooses, after a measurement of its own |
| floor | what the matrix products alone would take at the best rate that anything installed reaches on this machine |
"""
_NONE = "There are no figures yet."
_EARLIER = "†"


def _figures(cells: Sequence[Cell], code: str) -> Iterator[str]:
    first = cells[0]
    host, versions = first["host"], first["versions"]
    dates = sorted({cell["date"] for cell in cells})
    rates = [cell["peaks"]["products"]["float32"]["rate"] / 1e9 for cell in cells]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "onnxruntime") if name in versions)
    runtimes = dict.fromkeys(
        row["what"] for cell in cells for row in cell["table"]["rows"] if row["name"] in ("openvino", "tvm")
    )
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    yield (
        f"The machine: {host['cpu']}, {host['cores']} cores, {first['cell']['threads']} threads; Python "
        f"{host['python']}, {', '.join([packages, *runtimes])}; {when}. Matrix products "
        f"reach {min(rates):.0f} to {max(rates):.0f} GFLOP/s."
    )
    yield ""
    mean = geomean(cells)
    if mean is not None:
        number = len({cell["cell"]["model"] for cell in cells} & set(GEOMEAN))
        yield f"**auto takes {mean:.3f} of the best of the others**: the geometric mean over {number} models."
        yield ""
    yield f"![Time of each by the best of the others, for every row of the table]({PICTURE})"
    yield ""
    yield from table(cells, code)
    yield ""
    if any(cell["origin"]["code"] != code for cell in cells):
        yield f"{_EARLIER} measured with an earlier state of plumbline's code."
        yield ""
    failed = [f"{_label(cell)}: {name} ({why})" for cell in cells for name, why in cell["failed"].items()]
    failed += [
        f"{_label(cell)}: {row['name']} ({row['failure'].splitlines()[0]})"
        for cell in cells
        for row in cell["table"]["rows"]
        if row["failure"]
    ]
    if failed:
        yield "What could not be built or run:"
        yield ""
        yield from (f"- {line}" for line in failed)


def _gaps(measured: int, missing: Sequence[str]) -> Iterator[str]:
    if missing:
        yield ""
        told = f"{measured} of {measured + len(missing)} rows are measured"
        yield f"{told}. Not yet: {', '.join(missing)}."


def table(cells: Sequence[Cell], code: str) -> Iterator[str]:
    names = {**OTHERS, **OURS}
    yield f"| model | best of the others, ms | {' | '.join(names.values())} | auto chose | floor |"
    yield f"|---|---|{'---|' * len(names)}---|---|"
    for cell in cells:
        against = best(cell)
        base = statistics.median(bursts(cell)[against]) if against else math.nan
        found = [_ratio(held(cell, name, against), same=name == against) for name in names]
        floor = f"{cell['floor'] / base:.2f}" if cell["floor"] and against else ""
        lead = f"{1000 * base:.3g} ({OTHERS[against]})" if against else ""
        mark = "" if cell["origin"]["code"] == code else f" {_EARLIER}"
        yield f"| {_label(cell)}{mark} | {lead} | {' | '.join(found)} | {cell['chosen']} | {floor} |"


def _ratio(found: Ratio | None, *, same: bool) -> str:
    if same:
        return "1"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found is not None else ""


def _label(cell: Cell) -> str:
    return label(cell["cell"]["model"], cell["cell"]["sizes"])


def label(model: str, sizes: Mapping[str, int]) -> str:
    return " ".join([model, *(f"{name}={size}" for name, size in sizes.items())])


# -- the picture ------------------------------------------------------------------------------------------------

_MARKS = {
    "onnxruntime": ("s", "#1b6ca8"),
    "openvino": ("^", "#2f7d32"),
    "tvm": ("o", "#a35200"),
    "auto": ("D", "#111111"),
}

_SHOWN = 0.4, 2.5  # ratios; what lies outside is in the table


def picture(cells: Sequence[Cell]) -> str:
    """Ratios with their intervals, one line for each row of the table; shapes tell what colours tell."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "plumbline", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9.6, 1.4 + 0.24 * len(cells)), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        axes.axvline(1, color="#888888", linewidth=1)
        for name, (shape, colour) in _MARKS.items():
            found = {place: held(cell, name, best(cell)) for place, cell in enumerate(cells)}
            told = {place: one for place, one in found.items() if one is not None}
            values = [one.value for one in told.values()]
            ends = [[one.value - one.low for one in told.values()], [one.high - one.value for one in told.values()]]
            style = {"fmt": shape, "color": colour, "markersize": 4, "elinewidth": 1, "label": OURS[name]}
            axes.errorbar(values, list(told), xerr=ends, **style)
        axes.set_yticks(range(len(cells)), [_label(cell) for cell in cells])
        axes.set_ylim(len(cells) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(*_SHOWN)
        axes.xaxis.set_major_formatter("{x:.2g}")
        axes.xaxis.set_minor_formatter("{x:.2g}")
        axes.set_xlabel("time by the best of eager, torch.compile, plain ORT and plain OpenVINO; less is better")
        axes.grid(axis="x", which="both", linewidth=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1 + 0.5 / (1 + 0.24 * len(cells))), ncols=4, frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
