"""What goes into layers, summed up over samples: no activation is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.precision.observe import observe_finite
from compiler.precision.recipe import Samples

AT_ONCE = 512 * 2**20  # bytes that are summed up in one pass over the samples


@dataclass(frozen=True)
class Moments:
    """Means over all vectors x that go into a layer."""

    second: Array  # of x xT
    magnitude: Array  # of |x|
    count: int

    @property
    def known(self) -> bool:
        """Whether anything went in, and its squares are within float32."""
        return self.count > 0 and bool(np.isfinite(self.second).all())

    def __add__(self, other: Moments) -> Moments:
        """Of a layer that is used twice."""
        count = self.count + other.count
        mine, theirs = self.count / max(count, 1), other.count / max(count, 1)
        second = self.second * mine + other.second * theirs
        return Moments(second, self.magnitude * mine + other.magnitude * theirs, count)


def measure(model: ir.Model, widths: Mapping[str, int], samples: Samples) -> dict[str, Moments]:
    """For values of the graph, which are as wide as said."""
    second = {name: np.zeros((width, width), np.float32) for name, width in widths.items()}
    magnitude = {name: np.zeros(width) for name, width in widths.items()}
    count = dict.fromkeys(widths, 0)
    for values in observe_finite(model, widths, samples):
        for name, value in values.items():
            x = value.reshape(-1, widths[name]).astype(np.float32)
            with np.errstate(over="ignore"):
                second[name] += x.T @ x
            magnitude[name] += np.abs(x).sum(axis=0)
            count[name] += len(x)
    return {name: _means(second[name], magnitude[name], count[name]) for name in widths}


def _means(second: Array, magnitude: Array, count: int) -> Moments:
    second /= max(count, 1)
    return Moments(second, (magnitude / max(count, 1)).astype(np.float32), count)


def batches(groups: Sequence[Collection[tuple[str, int]]]) -> Iterator[slice]:
    """Neighbours whose values can be summed up at once, a group always as a whole."""
    start, there = 0, dict[str, int]()
    for place, group in enumerate(groups):
        new = there | dict(group)
        if there and sum(4 * width**2 for width in new.values()) > AT_ONCE:
            yield slice(start, place)
            start, new = place, dict(group)
        there = new
    if start < len(groups):
        yield slice(start, len(groups))
