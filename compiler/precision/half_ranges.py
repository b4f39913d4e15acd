"""Which numbers 16 bits can hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import constant, input_of, is_op
from compiler.precision.half_rules import LIGHT, UNCHANGING, WORK
from compiler.precision.observe import observe
from compiler.precision.recipe import Samples

HEADROOM = 4  # real data may be this many times larger than what was seen
_LOSS = 2.0**-8  # of all numbers together, relative; rounding where nothing underflows stays below half of it


@dataclass(frozen=True)
class Unfit:
    """Why 16 bits cannot hold a value; `large` where it goes beyond their end."""

    why: str
    large: bool


class Numbers:
    """Of some numbers that are seen part by part: how large they are, and what rounding takes from them."""

    def __init__(self, dtype: ir.DataType) -> None:
        self._type = dtype.numpy()
        self.largest = largest(dtype)
        self.peak = 0.0
        self._square = 0.0
        self._lost = 0.0

    def see(self, array: Array) -> None:
        finite = array[np.isfinite(array)].astype(np.float64)
        self.peak = max(self.peak, float(np.abs(finite).max(initial=0.0)))
        rounded = np.clip(finite, -self.largest, self.largest).astype(self._type).astype(np.float64)
        self._square += float(np.square(finite).sum())
        self._lost += float(np.square(rounded - finite).sum())

    def unfit(self, headroom: float = 1) -> Unfit | None:
        if self.peak * headroom > self.largest:
            return Unfit(f"reaches {self.peak:.3g}", large=True)
        if self._lost > self._square * _LOSS**2:
            return Unfit(f"is too small for 16 bits, {self.peak:.1g} at the most", large=False)
        return None


def largest(dtype: ir.DataType) -> float:
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype.numpy()).max)


def of_constant(array: Array, dtype: ir.DataType) -> Numbers:
    seen = Numbers(dtype)
    seen.see(array)
    return seen


def measured(model: ir.Model, dtype: ir.DataType, samples: Samples) -> dict[ir.Value, Unfit]:
    """The values that do not fit on these samples, and why; and attentions' first results, where scores do not."""
    values = {str(value.name): value for value in _watched(model)}
    heads = {node: _Scores(node) for node in model.graph if is_op(node, "Attention")}
    asked = [*values, *(name for scores in heads.values() for name in scores.names)]
    numbers = {name: Numbers(dtype) for name in values}
    for seen in observe(model, list(dict.fromkeys(asked)), samples):
        for name, one in numbers.items():
            one.see(seen[name])
        for scores in heads.values():
            scores.see(seen)
    found = {values[name]: one.unfit(HEADROOM) for name, one in numbers.items()}
    for node, scores in heads.items():
        if scores.bound * HEADROOM > largest(dtype):
            found[node.outputs[0]] = Unfit(f"has scores that may reach {scores.bound:.3g}", large=False)
    return {value: unfit for value, unfit in found.items() if unfit is not None}


def _watched(model: ir.Model) -> Iterator[ir.Value]:
    """What 16 bits may be asked to hold, each of it where it first appears."""
    yield from (value for value in model.graph.inputs if is_single(value) and not value.is_initializer())
    for node in model.graph:
        if not is_op(node, *UNCHANGING):
            for value in node.outputs:
                if value.name and is_single(value) and (is_op(node, *LIGHT, *WORK) or _feeds(value)):
                    yield value


def _feeds(value: ir.Value) -> bool:
    return any(is_op(user, *LIGHT, *WORK) for user, _ in value.uses())


def is_single(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is ir.DataType.FLOAT and isinstance(value.type, ir.TensorType)


class _Scores:
    """How large an attention's scores can be: no larger than the lengths of a query and a key, multiplied."""

    def __init__(self, node: ir.Node) -> None:
        self._scale: float | None = node.attributes["scale"].as_float() if "scale" in node.attributes else None
        heads = [node.attributes.get_int(f"{side}_num_heads", 0) for side in ("q", "kv")]
        places = [(0, heads[0]), (1, heads[1]), (4, 0)]
        found = [(input_of(node, place), count) for place, count in places]
        self._sides = [(str(value.name), count) for value, count in found if value is not None]
        self._constant = {
            str(value.name): array for value, _ in found if value is not None and (array := constant(value)) is not None
        }
        self.bound = 0.0

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self._sides if name not in self._constant]

    def see(self, seen: dict[str, Array]) -> None:
        given = {**seen, **self._constant}
        (query, width), *keys = (_longest(given[name], heads) for name, heads in self._sides)
        scale = width**-0.5 if self._scale is None else self._scale
        self.bound = max(self.bound, query * max(key for key, _ in keys) * scale)


def _longest(array: Array, heads: int) -> tuple[float, int]:
    """The longest row of a head, and how many numbers a row has."""
    split = array.reshape(*array.shape[:-1], heads, -1) if array.ndim == 3 else array
    lengths = np.sqrt(np.square(split.astype(np.float64)).sum(axis=-1))
    return float(lengths.max(initial=0.0)), split.shape[-1]
