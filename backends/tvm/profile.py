"""How long each kernel takes, as TVM's virtual machine tells it before and after every call of one."""

from __future__ import annotations

import statistics
import time
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.tvm.session import TvmSession
from compiler.contracts import Array, Arrays, Artifact, OperatorTime

_WARM = 2  # calls that are not counted
_OF_THE_MACHINE = "vm."  # what makes shapes, and hands out memory


def profile(
    artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
) -> list[OperatorTime]:
    with TvmSession(artifact, folder, options) as session:
        watch = _Watch(_Weights(session.weights, artifact.facts.get("weight_names", ())))
        session.watch(watch)
        found: list[list[_Step]] = []
        for _ in range(_WARM + calls):
            watch.steps = []
            session(inputs)
            found.append(watch.steps)
    counted = found[_WARM:]
    shortest = min(counted, key=lambda steps: len(steps))
    # One call runs the same kernels in the same order as another, but where data decides how often a loop runs.
    return [
        OperatorTime(
            f"{step.kernel} #{place}",
            words(step.kernel),
            statistics.median(steps[place].seconds for steps in counted),
            step.weights,
            step.bytes,
        )
        for place, step in enumerate(shortest)
    ]


@dataclass(frozen=True)
class _Step:
    kernel: str
    seconds: float
    weights: tuple[str, ...]
    bytes: int


class _Weights:
    """Finds a weight by its address."""

    def __init__(self, arrays: Sequence[Array], names: Sequence[str]) -> None:
        found = sorted((array.ctypes.data, name) for array, name in zip(arrays, names, strict=False))
        self._starts = [start for start, _ in found]
        self._names = [name for _, name in found]

    def at(self, address: int) -> str:
        place = bisect(self._starts, address) - 1
        return self._names[place] if place >= 0 and self._starts[place] == address else ""


class _Watch:
    """Called by the machine around each of its steps. Its own bookkeeping lies outside of what it times."""

    def __init__(self, weights: _Weights) -> None:
        self.steps: list[_Step] = []
        self._weights = weights
        self._started: list[float] = []  # one within another, where a step is a function

    def __call__(self, _function: Any, name: Any, before: bool, _result: Any, *arguments: Any) -> int:
        now = time.perf_counter()
        if before:
            self._started.append(time.perf_counter())
            return 0  # which lets it go on
        taken = now - self._started.pop()
        if not str(name).startswith(_OF_THE_MACHINE):
            tensors = [np.from_dlpack(argument) for argument in arguments if hasattr(argument, "__dlpack__")]
            named = [self._weights.at(tensor.ctypes.data) for tensor in tensors]
            size = sum(tensor.nbytes for tensor in tensors)
            self.steps.append(_Step(str(name), taken, tuple(filter(None, named)), size))
        return 0


def words(kernel: str) -> str:
    """fused_conv3_add2_relu is conv_add_relu."""
    return "_".join(part.rstrip("0123456789") for part in kernel.removeprefix("fused_").split("_"))
