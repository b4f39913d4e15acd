"""Faults of constants: a bit, a row, a layout, a precision."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import ml_dtypes
import numpy as np
import onnx_ir as ir
from faults import GraphFault, constant_of, new_constant, nodes, places, set_weight, weights

from compiler.contracts import Array

Change = Callable[[Array, random.Random], Array]


def _changed(name: str, change: Change, fits: Callable[[Array], bool] = lambda array: array.size > 0) -> GraphFault:
    def plant(model: ir.Model, value: ir.Value, rng: random.Random) -> None:
        assert value.const_value is not None
        set_weight(value, change(np.array(value.const_value.numpy()), rng))

    return GraphFault(name, lambda model: weights(model, fits), plant)


def _bit(array: Array, rng: random.Random) -> Array:
    flat = array.reshape(-1).view(np.uint32)
    flat[rng.randrange(flat.size)] ^= np.uint32(1 << rng.randrange(8, 30))
    return array


def _sign(array: Array, rng: random.Random) -> Array:
    array[places(array, rng)] *= -1
    return array


def _scaled_column(array: Array, rng: random.Random) -> Array:
    array[..., rng.randrange(array.shape[-1])] *= np.float32(1 + 10 ** rng.uniform(-6, -1))
    return array


def _exchanged_rows(array: Array, rng: random.Random) -> Array:
    one, other = rng.sample(range(array.shape[0]), 2)
    array[[one, other]] = array[[other, one]]
    return array


def _rounded_to_bits(array: Array, rng: random.Random) -> Array:
    scale = np.abs(array).max() / 127 or np.float32(1)
    return (np.round(array / scale) * scale).astype(np.float32)


def _is_square(array: Array) -> bool:
    return array.ndim >= 2 and array.shape[-1] == array.shape[-2] > 1


def _has_rows(array: Array) -> bool:
    return array.ndim >= 2 and array.shape[0] > 1


# -- constants in their places --------------------------------------------------------------------------------------


def _kernels(model: ir.Model) -> list[ir.Value]:
    found = [node.inputs[1] for node in nodes(model, "Conv", "ConvTranspose")]
    return [value for value in found if (kernel := constant_of(value)) is not None and kernel.shape[-1] > 1]


def _flip_kernel(_: ir.Model, value: ir.Value, rng: random.Random) -> None:
    kernel = constant_of(value)
    assert kernel is not None
    set_weight(value, np.flip(kernel, -1))


def _biases(model: ir.Model) -> list[tuple[ir.Node, int]]:
    """Every place where a vector is added: a node and its operand."""
    found = []
    for node in nodes(model, "Add", "Conv", "ConvTranspose", "Gemm", "LayerNormalization"):
        for place in (0, 1) if node.op_type == "Add" else (2,):
            array = constant_of(node.inputs[place]) if len(node.inputs) > place else None
            if array is not None and array.dtype == np.float32 and array.size > 1 and array.ndim < 3:
                found.append((node, place))
    return found


def _drop_bias(model: ir.Model, site: tuple[ir.Node, int], rng: random.Random) -> None:
    _put(model, site, np.zeros_like)


def _spread_one(model: ir.Model, site: tuple[ir.Node, int], rng: random.Random) -> None:
    """Its first element for all: what an addition along the wrong axis of a square looks like from one row."""
    _put(model, site, lambda array: np.full_like(array, array.flat[0]))


def _shifted(model: ir.Model, site: tuple[ir.Node, int], rng: random.Random) -> None:
    """Each element goes to its neighbour's column."""
    _put(model, site, lambda array: np.roll(array, 1, -1))


def _put(model: ir.Model, site: tuple[ir.Node, int], change: Callable[[Array], Array]) -> None:
    node, place = site
    array = constant_of(node.inputs[place])
    assert array is not None
    node.replace_input_with(place, new_constant(model, change(np.array(array))))


def _twins(model: ir.Model) -> Sequence[tuple[ir.Value, ir.Value]]:
    """Weights of the same shape in two layers."""
    by_shape: dict[tuple[int, ...], list[ir.Value]] = {}
    for value in weights(model, lambda array: array.ndim >= 1 and array.size > 1):
        assert value.const_value is not None
        by_shape.setdefault(value.const_value.numpy().shape, []).append(value)
    return [(one, other) for same in by_shape.values() for one, other in pairwise(same)]


def _exchange(model: ir.Model, site: tuple[ir.Value, ir.Value], rng: random.Random) -> None:
    one, other = site
    first, second = constant_of(one), constant_of(other)
    assert first is not None and second is not None
    first = np.array(first)
    set_weight(one, np.array(second))
    set_weight(other, first)


FAULTS = [
    _changed("a bit of a weight", _bit),
    _changed("the sign of a weight", _sign),
    _changed("a column that is scaled", _scaled_column, lambda array: array.ndim >= 1 and array.size > 1),
    _changed("two rows exchanged", _exchanged_rows, _has_rows),
    _changed("a square matrix transposed", lambda array, _: array.swapaxes(-1, -2), _is_square),
    _changed("a weight in bfloat16", lambda array, _: array.astype(ml_dtypes.bfloat16).astype(np.float32)),
    _changed("a weight in float16", lambda array, _: array.astype(np.float16).astype(np.float32)),
    _changed("a weight in int8", _rounded_to_bits),
    GraphFault("a kernel flipped", _kernels, _flip_kernel),
    GraphFault("a bias dropped", _biases, _drop_bias),
    GraphFault("a bias broadcast from one element", _biases, _spread_one),
    GraphFault("a bias off by one", _biases, _shifted),
    GraphFault("weights of two layers exchanged", _twins, _exchange),
]
