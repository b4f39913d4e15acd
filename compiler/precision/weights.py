"""Weights in eight or four bits, activations as they are.

Every constant that a MatMul or a Gemm multiplies with is stored as whole numbers behind a DequantizeLinear: eight bits
with a scale for each channel, or four with a scale for each group of neighbours along the axis that is summed up.
Tables of embeddings and heads, which weigh on every token alone, are kept in eight bits: a scale for each row.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import Edit
from compiler.precision.recipe import Layer, Recipe, Samples
from compiler.precision.rounding import Grid, nearest
from compiler.precision.weights_found import User, Weight, find
from compiler.precision.weights_stored import store

SMALLEST_GROUP = 16  # what runtimes take


def quantize_weights(model: ir.Model, recipe: Recipe, samples: Samples | None) -> tuple[Layer, ...]:
    """In place; what became of each node that holds weights, in the order of the graph."""
    edit, weights = Edit(model), find(model, recipe.keep)
    position = {node: place for place, node in enumerate(model.graph)}
    layers: dict[ir.Node, Layer] = {}
    for weight in weights:
        if weight.why:
            layers |= {user.node: _left(weight, user, place) for place, user in enumerate(weight.users)}
            continue
        grid = grid_for(weight, recipe)
        rounded = nearest(weight.rows(), grid)
        store(edit, weight, rounded, min(weight.value.consumers(), key=position.__getitem__))
        for place, user in enumerate(weight.users):
            count = 0 if place else weight.count
            layers[user.node] = _layer(user, f"int{grid.bits} weights", rounded.bits, count)
    edit.finish()
    return tuple(layers[node] for node in model.graph if node in layers)


def grid_for(weight: Weight, recipe: Recipe) -> Grid:
    """Groups must fill the summed axis: they are halved until they do. What has no such group is kept in eight bits."""
    length = weight.value.shape[weight.summed] if weight.value.shape is not None else 0
    assert isinstance(length, int)
    size = recipe.group_size
    while size >= SMALLEST_GROUP and length % size:
        size //= 2
    if recipe.precision != "int4" or weight.fine or size < SMALLEST_GROUP:
        return Grid(8, 0, recipe.symmetric)
    return Grid(4, size, recipe.symmetric)


def _left(weight: Weight, user: User, place: int) -> Layer:
    return _layer(user, "float32", 32.0, 0 if place else weight.count, weight.why)


def _layer(user: User, precision: str, bits: float, count: int, why: str = "") -> Layer:
    """The weights of a tied layer are counted once."""
    return Layer(user.node.name or "", user.node.op_type, precision, bits, count, why)
