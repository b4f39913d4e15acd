"""SmoothQuant: channels of an activation that are large are made smaller, and the weights that they meet larger.

x @ W = (x / s) @ (s * W), with s chosen for each channel so that neither side has a few channels that cost all others
their steps. How much of the unevenness moves to the weights is tried out for each activation, on rows of samples. The
division moves into the normalisation that computes x, where everyone takes it divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import Edit, constant, made_by
from compiler.precision.candidates import Candidate
from compiler.precision.observe import observe_finite
from compiler.precision.recipe import Samples

_SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the unevenness; that nothing moves is tried as well
_GAIN = 0.9  # of the error must be left at most: a division at run time is not free
_WORTH_IT = 0.25  # of the error must be left at most where rows get ranges of their own: those cost time
_LEAST = 1e-5
_ROWS = 256  # of an activation that are tried
_STEPS = 255
_LARGEST = 127

Floats = npt.NDArray[np.float32]
Ranges = Literal["one", "rows", "either"]  # for all of an activation, for each of its rows, or the better of the two
_TRIED: Mapping[Ranges, Sequence[bool]] = {"one": (False,), "rows": (True,), "either": (False, True)}


@dataclass
class _Seen:
    """Factors are tried on other samples than they were made from, so that nothing is learned of a few rows."""

    ends: list[Floats]  # lowest and highest of each channel, in the samples that factors are made from, and in others
    rows: list[Floats]

    def add(self, rows: Floats, *, tried: bool) -> None:
        low, high = self.ends[tried]
        self.ends[tried] = np.stack([np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))])
        have = sum(map(len, self.rows))
        if tried and have < _ROWS:
            # Some of every sample, and not the first one's alone.
            self.rows.append(rows[:: max(1, len(rows) // 32)][: _ROWS - have].copy())


def smooth(
    model: ir.Model, edit: Edit, products: Sequence[Candidate], samples: Samples, ranges: Ranges = "one"
) -> set[ir.Node]:
    """In place; `products` are matrix products, whose input's channels lie on its last axis. Those are returned for
    whose input each row should have a range of its own."""
    takers: dict[ir.Value, list[Candidate]] = {}
    for one in products:
        takers.setdefault(one.data, []).append(one)
    seen = _look(model, list(takers), samples)
    by_rows: set[ir.Node] = set()
    for value, ones in takers.items():
        found = seen.get(str(value.name))
        choice = _Choice(None, ranges == "rows") if found is None else _best(found, [*map(_columns, ones)], ranges)
        if choice.by_rows:
            by_rows.update(one.node for one in ones)
        if choice.factors is not None:
            _smooth(edit, value, ones, choice.factors)
    return by_rows


def _look(model: ir.Model, values: Sequence[ir.Value], samples: Samples) -> Mapping[str, _Seen]:
    found: dict[str, _Seen] = {}
    for number, arrays in enumerate(observe_finite(model, [str(value.name) for value in values], samples)):
        for name, array in arrays.items():
            if array.ndim and array.size:
                rows = array.reshape(-1, array.shape[-1])
                nothing = np.zeros((2, rows.shape[1]), np.float32)
                found.setdefault(name, _Seen([nothing, nothing], [])).add(rows, tried=number % 2 == 1)
    return {name: seen for name, seen in found.items() if seen.rows}


def _columns(one: Candidate) -> Array:
    """The weights with a column for each output."""
    return one.array if one.summed == 0 else one.array.T


@dataclass(frozen=True)
class _Choice:
    factors: Floats | None  # None where none of them gains enough
    by_rows: bool
    error: float = 0.0


def _best(seen: _Seen, weights: Sequence[Array], ranges: Ranges) -> _Choice:
    """What leaves the least error, where the cheaper way is not good enough."""
    rows = np.concatenate(seen.rows)
    largest, others = (np.abs(each).max(axis=0) for each in seen.ends)
    uneven = np.maximum(np.max([np.abs(each).max(axis=1) for each in weights], axis=0), _LEAST)
    tried = [np.ones_like(largest), *(_factors(largest, uneven, share) for share in _SHARES)]
    wanted = [rows @ each for each in weights]
    errors: dict[bool, list[float]] = {by_rows: [] for by_rows in _TRIED[ranges]}
    for factors in tried:
        changed = [_rounded(each * factors[:, None]) for each in weights]
        for by_rows, found in errors.items():
            codes = _codes(rows / factors, None if by_rows else seen.ends[0] / factors)
            found.append(sum(_off(codes @ each, want) for each, want in zip(changed, wanted, strict=True)))
    choices = []
    for by_rows, found in errors.items():
        best = int(np.argmin(found[1:])) + 1
        if found[best] < _GAIN * found[0]:
            factors = _factors(np.maximum(largest, others), uneven, _SHARES[best - 1])
            choices.append(_Choice(factors, by_rows, found[best]))
        else:
            choices.append(_Choice(None, by_rows, found[0]))
    return choices[-1] if choices[-1].error < _WORTH_IT * choices[0].error else choices[0]


def _factors(largest: Floats, uneven: Floats, share: float) -> Floats:
    factors = np.maximum(largest, _LEAST) ** share / uneven ** (1 - share)
    return np.asarray(factors / np.exp(np.mean(np.log(factors))), np.float32)  # on average nothing changes


def _codes(rows: Floats, ends: Floats | None) -> Floats:
    """What rounding, and what lies beyond the range, leave; without `ends` each row has its own."""
    if ends is None:
        low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    else:
        low, high = ends.min(keepdims=True), ends.max(keepdims=True)
    step = np.maximum((high - low) / _STEPS, np.float32(np.finfo(np.float32).tiny))
    return np.asarray(np.rint((np.clip(rows, low, high) - low) / step) * step + low)


def _off(got: Array, want: Array) -> float:
    """Each row for itself: the next normalisation makes a small row as large as any other."""
    sizes = np.sum(want**2, axis=1)
    return float(np.sum(np.sum((got - want) ** 2, axis=1) / np.maximum(sizes, _LEAST * np.mean(sizes))))


def _rounded(columns: Array) -> Array:
    steps = np.maximum(np.abs(columns).max(axis=0), _LEAST) / _LARGEST
    return np.asarray(np.rint(columns / steps) * steps)


def _smooth(edit: Edit, value: ir.Value, ones: Sequence[Candidate], factors: Floats) -> None:
    for one in ones:
        old = one.weights
        spread = factors[:, None] if one.summed == 0 else factors[None, :]
        one.node.replace_input_with(1, edit.constant((one.array * spread).astype(np.float32), old))
        edit.prune([old])
    if not _divide_before(edit, value, {one.node for one in ones}, factors):
        by = edit.constant((1 / factors).astype(np.float32), value)
        divided = edit.insert(ones[0].node, "Mul", [value, by], dtype=value.dtype, shape=value.shape)
        for one in ones:
            one.node.replace_input_with(0, divided)


def _divide_before(edit: Edit, value: ir.Value, takers: set[ir.Node], factors: Floats) -> bool:
    """In the weights of a normalisation, if nobody else takes what it gives."""
    node = made_by(value, "LayerNormalization", "RMSNormalization")
    others = any(user not in takers for user, _ in value.uses())
    if node is None or others or value.is_graph_output():
        return False
    parts = [index for index, part in enumerate(node.inputs) if index and part is not None]
    arrays = {index: array for index in parts if (array := constant(node.inputs[index])) is not None}
    if len(arrays) < len(parts) or any(array.shape != factors.shape for array in arrays.values()):
        return False
    for index, array in arrays.items():
        old = node.inputs[index]
        assert old is not None
        node.replace_input_with(index, edit.constant((array / factors).astype(np.float32), old))
        edit.prune([old])
    return True
