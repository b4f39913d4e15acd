"""Writes docs/backends/zoo.md, every model of the zoo on every target: `make zoo-page`.

From models/zoo.toml and models/parity.lock, which `compile check models/zoo.toml --update` measures and writes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "backends" / "zoo.md"
TARGETS = ("onnxruntime", "openvino", "tensorrt", "tvm")

ABOUT = """\
# The zoo

<!-- Written by tests/zoo/zoo_page.py from models/parity.lock: `make zoo-page`. -->

Every model of [the zoo](../../models/zoo.toml) on every target, at float32 and cut down to its small size, which MiniLM
has not: its weights are real. `make check` measures this again and fails where it gets worse
([parity in continuous integration](../ci.md)).

In each cell: how much of its error budget the worst element of any output takes up, of 100 % ([parity](../parity.md)),
and the size of the bundle's native files. `built` is a target that is built and not run where the numbers were taken,
a machine without a GPU: the share is that of the graph it was given. `¹` marks a model that does not do on all
probes at the edge as PyTorch does; they are listed below.

How fast the full models are stands on the targets' own pages: [onnxruntime](onnxruntime.md#beside-a-plain-export),
[openvino](openvino.md#beside-its-own-conversion-in-time), [tvm](tvm.md#how-fast); how much memory a build takes,
[tensorrt](tensorrt.md#the-zoo).
"""


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    models, lock = _read("zoo.toml"), _read("parity.lock")
    del models["check"]
    yield ABOUT
    yield f"| model | family | parameters | {' | '.join(TARGETS)} |"
    yield f"|---|---|---|{'---|' * len(TARGETS)}"
    for name, model in models.items():
        cells = [_cell(model, lock, name, target) for target in TARGETS]
        yield f"| {name} | {model['family']} | {_millions(model['parameters'])} | {' | '.join(cells)} |"
    yield ""
    yield "The parameters are those of the full size."
    yield ""
    yield "## At the edge"
    for target in TARGETS:
        rows = list(_edges(models, lock, target))
        if rows:
            yield ""
            yield f"### {target}"
            yield ""
            yield "| model | probe | what happens |"
            yield "|---|---|---|"
            yield from rows


def _cell(model: dict[str, Any], lock: dict[str, Any], name: str, target: str) -> str:
    if target not in model["targets"]:
        return "no"
    found = lock[name][target]["float32"]
    worst = max(output["used"] for output in found["outputs"].values())
    mark = "¹" if found.get("edges") else ""
    return f"{'' if found['ran'] else 'built, '}{100 * worst:.2g} %{mark}, {_size(found['bytes'])}"


def _edges(models: dict[str, Any], lock: dict[str, Any], target: str) -> Iterator[str]:
    for name, model in models.items():
        if target in model["targets"]:
            for probe, what in lock[name][target]["float32"].get("edges", {}).items():
                yield f"| {name} | {probe} | {what.replace('|', chr(92) + '|')} |"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _millions(count: float) -> str:
    return f"{count:.3g} million"


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "models" / name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
