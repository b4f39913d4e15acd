"""SmoothQuant: channels of an activation that are large are made smaller, and the weights that they meet larger.

x @ W = (x / s) @ (s * W), with s chosen for each channel so that neither side has a few channels that cost all others
their steps. The division moves into the normalisation that computes x, where everyone takes it divided.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compiler.passes.rewriting import Edit, constant, made_by
from compiler.precision.candidates import Candidate
from compiler.precision.observe import observe
from compiler.precision.recipe import Samples

_SHARE = 0.5  # of what makes an activation uneven that moves to the weights
_LEAST = 1e-5

Floats = npt.NDArray[np.float64]


def smooth(model: ir.Model, edit: Edit, products: Sequence[Candidate], samples: Samples) -> None:
    """In place; `products` are matrix products, whose input's channels lie on its last axis."""
    takers: dict[ir.Value, list[Candidate]] = {}
    for one in products:
        takers.setdefault(one.data, []).append(one)
    sizes = _largest(model, list(takers), samples)
    for value, ones in takers.items():
        if str(value.name) in sizes:
            _smooth(edit, value, ones, sizes[str(value.name)])


def _largest(model: ir.Model, values: Sequence[ir.Value], samples: Samples) -> dict[str, Floats]:
    """Of each channel of each value."""
    found: dict[str, Floats] = {}
    for seen in observe(model, [str(value.name) for value in values], samples):
        for name, array in seen.items():
            if array.ndim and array.size:
                now = np.abs(array.reshape(-1, array.shape[-1])).max(axis=0).astype(np.float64)
                found[name] = np.maximum(found[name], now) if name in found else now
    return found


def _smooth(edit: Edit, value: ir.Value, ones: Sequence[Candidate], size: Floats) -> None:
    weights = np.max([np.abs(one.array).max(axis=one.channel) for one in ones], axis=0).astype(np.float64)
    factors = np.maximum(size, _LEAST) ** _SHARE / np.maximum(weights, _LEAST) ** (1 - _SHARE)
    factors /= np.exp(np.mean(np.log(factors)))  # on average nothing changes
    for one in ones:
        old = one.weights
        spread = factors[:, None] if one.summed == 0 else factors[None, :]
        one.node.replace_input_with(1, edit.constant((one.array * spread).astype(np.float32), old))
        edit.prune([old])
    if not _divide_before(edit, value, {one.node for one in ones}, factors):
        divided = edit.insert(
            ones[0].node,
            "Mul",
            [value, edit.constant((1 / factors).astype(np.float32), value)],
            dtype=value.dtype,
            shape=value.shape,
        )
        for one in ones:
            one.node.replace_input_with(0, divided)


def _divide_before(edit: Edit, value: ir.Value, takers: set[ir.Node], factors: Floats) -> bool:
    """In the weights of a normalisation, if nobody else takes what it gives."""
    node = made_by(value, "LayerNormalization", "RMSNormalization")
    others = any(user not in takers for user, _ in value.uses())
    if node is None or others or value.is_graph_output():
        return False
    parts = list(range(1, len([one for one in node.inputs if one is not None])))
    arrays = {index: constant(node.inputs[index]) for index in parts}
    if any(array is None or array.shape != factors.shape for array in arrays.values()):
        return False
    for index, array in arrays.items():
        old = node.inputs[index]
        assert old is not None and array is not None
        node.replace_input_with(index, edit.constant((array / factors).astype(np.float32), old))
        edit.prune([old])
    return True
