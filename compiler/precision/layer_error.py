"""What lower precision has done to the result of each layer by the time that it is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.precision.observe import observe
from compiler.precision.recipe import Layer, Samples

_FEW = 2  # samples, which tell enough


class _First:
    """The first few of some samples."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[Arrays]:
        return islice(iter(self._samples), _FEW)


def with_errors(
    layers: Sequence[Layer], before: ir.Model | None, after: ir.Model, samples: Samples | None
) -> tuple[Layer, ...]:
    """The rms of the difference, relative to the rms of what it was; errors of earlier layers are in it."""
    if before is None or samples is None:
        return tuple(layers)
    results = {node.name: str(node.outputs[0].name) for node in before.graph}
    names = [results[layer.name] for layer in layers]
    squares = dict.fromkeys(names, 0.0)
    sizes = dict.fromkeys(names, 0.0)
    few = _First(samples)
    for old, new in zip(observe(before, names, few), observe(after, names, few), strict=True):
        for name in names:
            wanted = old[name].astype(np.float64)
            squares[name] += float(np.sum((new[name] - wanted) ** 2))
            sizes[name] += float(np.sum(wanted**2))
    errors = {name: (squares[name] / sizes[name]) ** 0.5 if sizes[name] else 0.0 for name in names}
    return tuple(replace(layer, error=errors[results[layer.name]]) for layer in layers)
