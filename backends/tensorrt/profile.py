"""How long each layer of an engine takes, as TensorRT tells its IProfiler, and which of our nodes each stands for."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.tensorrt.options import Settings
from backends.tensorrt.session import opened
from compiler.contracts import Arrays, Artifact, OperatorTime

_WARM = 2  # calls that are not counted

Report = Callable[[str, float], None]  # a layer's name and its seconds


def profile(artifact: Artifact, folder: Path, settings: Settings, inputs: Arrays, calls: int) -> list[OperatorTime]:
    """A `no-gpu` error where there is none."""
    with opened(artifact, folder, settings) as session:
        return times(session, inputs, calls)


def times(session: Any, inputs: Arrays, calls: int) -> list[OperatorTime]:
    taken: dict[str, list[float]] = {}

    def report(layer: str, seconds: float) -> None:
        taken.setdefault(layer, []).append(seconds)

    for _ in range(_WARM):
        session(inputs)
    session.watch(lambda trt: _profiler(trt, report))
    for _ in range(calls):
        session(inputs)
    # What one call runs several times, a layer within a loop, is added up.
    return [
        OperatorTime(layer, _kind(layer), statistics.median(found) * len(found) / calls, nodes(layer))
        for layer, found in taken.items()
    ]


def _profiler(trt: Any, report: Report) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            report(layer_name, ms / 1000)

    return Profiler()


def nodes(layer: str) -> tuple[str, ...]:
    """A layer is called by what it was made of: "conv + relu", or "{ForeignNode[first...last]}"."""
    parts = re.split(r" \+ |\.\.\.|[\[\]{}(),|]+", layer.replace("ForeignNode", ""))
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _kind(layer: str) -> str:
    """Only layers that TensorRT put in itself say what they are."""
    return "Reformat" if layer.startswith("Reformatting ") else layer.partition(" ")[0]
