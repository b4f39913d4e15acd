"""x / s for a scale s of each column, where it costs nothing if that can be.

A normalisation, or a layer that makes one factor of x, takes the division into its own weights. Elsewhere it is a
product with a constant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import Edit, constant, dims, input_of, made_by
from compiler.precision.weights_found import Weight

_NORMS = ("LayerNormalization", "RMSNormalization")


Open = Mapping[ir.Node, Weight]  # layers whose weights may still be changed, and are nobody else's


def is_free(x: ir.Value, users: Collection[ir.Node], layers: Open) -> bool:
    """Whether somebody takes the division in."""
    return _all_use(x, users) and (_norm(x) is not None or _factor(x, layers) is not None)


def divide(edit: Edit, x: ir.Value, by: Array, users: Sequence[ir.Node], layers: Open) -> None:
    """What the users multiply with is divided; they are in the order of the graph."""
    norm, factor = _norm(x), _factor(x, layers)
    if _all_use(x, users) and norm is not None:
        _divide_constants(edit, norm, by)
    elif _all_use(x, users) and factor is not None:
        _divide_channels(edit, factor, by)
    else:
        _multiply(edit, x, by, users)


def _all_use(x: ir.Value, users: Collection[ir.Node]) -> bool:
    return not x.is_graph_output() and set(x.consumers()) <= set(users)


def _norm(x: ir.Value) -> ir.Node | None:
    node = made_by(x, *_NORMS)
    if node is None or node.outputs[0] is not x or any(output.uses() for output in node.outputs[1:]):
        return None
    parts = [value for value in node.inputs[1:] if value is not None]
    return node if parts and all(map(_is_row, parts)) else None


def _is_row(value: ir.Value) -> bool:
    array = constant(value)
    return array is not None and array.ndim == 1 and value.dtype == ir.DataType.FLOAT


def _divide_constants(edit: Edit, norm: ir.Node, by: Array) -> None:
    for place, value in enumerate(norm.inputs):
        array = constant(value) if place else None
        if value is not None and array is not None:
            norm.replace_input_with(place, edit.constant((array / by).astype(np.float32), value))
            edit.prune([value])


def _factor(x: ir.Value, layers: Open) -> Weight | None:
    """The weights of a layer that x is the result of, or one factor of x; its channels are x's columns."""
    product = made_by(x, "Mul")
    for value in [x] if product is None else product.inputs:
        layer = made_by(value, "MatMul", "Gemm")
        if value is None or layer is None or layer not in layers or input_of(layer, 2) is not None:
            continue
        alone = value is x or (not value.is_graph_output() and len(value.uses()) == 1)
        if alone and dims(value) == dims(x):
            return layers[layer]
    return None


def _divide_channels(edit: Edit, weight: Weight, by: Array) -> None:
    array = constant(weight.value)
    assert array is not None
    divided = array / (by if weight.summed == 0 else by[:, None])
    old, weight.value = weight.value, edit.constant(divided.astype(np.float32), weight.value)
    old.replace_all_uses_with(weight.value)
    edit.prune([old])


def _multiply(edit: Edit, x: ir.Value, by: Array, users: Sequence[ir.Node]) -> None:
    factor = edit.constant((1 / by).astype(np.float32), x)
    divided = edit.insert(users[0], "Mul", [x, factor], dtype=x.dtype, shape=x.shape)
    for user in users:
        user.replace_input_with(0, divided)
