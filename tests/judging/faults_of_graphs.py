"""Faults of operators and of what flows between them: attributes, axes, masks, precision, what is left out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from faults import (
    GraphFault,
    NoPlaceError,
    Wire,
    constant_of,
    floats,
    new_constant,
    nodes,
    number,
    replace_node,
    set_weight,
    whole,
)

_FLOAT, _HALF, _BFLOAT, _INT8 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.INT8
_NORMS = {"LayerNormalization": 1e-5, "RMSNormalization": 1e-5, "GroupNormalization": 1e-5, "BatchNormalization": 1e-5}


def _at(*operators: str, fits: Callable[[ir.Node], bool] = lambda node: True) -> Callable[[ir.Model], Sequence[Any]]:
    return lambda model: [node for node in nodes(model, *operators) if fits(node)]


# -- attributes -----------------------------------------------------------------------------------------------------


def _epsilon(_: ir.Model, node: ir.Node, rng: random.Random) -> None:
    epsilon = number(node, "epsilon", _NORMS[node.op_type])
    node.attributes["epsilon"] = ir.AttrFloat32("epsilon", epsilon * rng.choice((0.1, 10, 100)))


def _softmax_axis(_: ir.Model, node: ir.Node, rng: random.Random) -> None:
    node.attributes["axis"] = ir.AttrInt64("axis", -2 if whole(node, "axis", -1) != -2 else -1)


def _padding_side(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    """What was padded in front is padded behind."""
    if node.op_type == "Pad":
        pads = constant_of(node.inputs[1])
        assert pads is not None
        half = len(pads) // 2
        node.replace_input_with(1, new_constant(model, np.concatenate([pads[half:], pads[:half]])))
        return
    pads = list(node.attributes["pads"].value)
    half = len(pads) // 2
    axis = rng.choice([axis for axis in range(half) if pads[axis]])
    pads[axis], pads[half + axis] = pads[axis] - 1, pads[half + axis] + 1
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _is_padded(node: ir.Node) -> bool:
    if node.op_type == "Pad":
        pads = constant_of(node.inputs[1])
        half = len(pads) // 2 if pads is not None else 0
        return pads is not None and list(pads[:half]) != list(pads[half:])
    pads = node.attributes.get("pads")
    return pads is not None and any(pads.value[: len(pads.value) // 2])


def _gelu_by_tanh(_: ir.Model, node: ir.Node, rng: random.Random) -> None:
    exact = "approximate" not in node.attributes or node.attributes["approximate"].value == "none"
    node.attributes["approximate"] = ir.AttrString("approximate", "tanh" if exact else "none")


_OTHER = {"Relu": "Gelu", "Gelu": "Swish", "Swish": "Gelu", "Sigmoid": "HardSigmoid", "Tanh": "Softsign"}


def _other_activation(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    replace_node(model, node, _OTHER[node.op_type], node.inputs[:1])


def _attention_scale(_: ir.Model, node: ir.Node, rng: random.Random) -> None:
    if "scale" not in node.attributes:
        node.attributes["scale"] = ir.AttrFloat32("scale", rng.choice((1.0, 0.1)))
        return
    scale = number(node, "scale", 1.0)
    node.attributes["scale"] = ir.AttrFloat32("scale", scale * rng.choice((1.001, 0.5, 2.0)))


def _no_mask(_: ir.Model, node: ir.Node, rng: random.Random) -> None:
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        node.replace_input_with(3, None)
    else:
        node.attributes["is_causal"] = ir.AttrInt64("is_causal", 0)


def _has_mask(node: ir.Node) -> bool:
    return (len(node.inputs) > 3 and node.inputs[3] is not None) or whole(node, "is_causal", 0) == 1


def _reduced_axis_kept(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    """A sum where there was a mean, a largest where there was a sum."""
    other = {"ReduceMean": "ReduceSum", "ReduceSum": "ReduceMax", "ReduceMax": "ReduceMin"}[node.op_type]
    replace_node(model, node, other, node.inputs, keepdims=whole(node, "keepdims", 1))


# -- wiring ---------------------------------------------------------------------------------------------------------


def _left_out(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    replace_node(model, node, "Identity", node.inputs[:1])


def _is_residual(node: ir.Node) -> bool:
    one, other = node.inputs
    computed = one is not None and other is not None and one.const_value is None and other.const_value is None
    return computed and one is not other and one.shape is not None and one.shape == other.shape


def _exchanged_operands(_: ir.Model, node: ir.Node, rng: random.Random) -> None:
    one, other = node.inputs[-2:]
    last = len(node.inputs) - 1
    node.replace_input_with(last - 1, other)
    node.replace_input_with(last, one)


def _sites_of_floats(fits: Callable[[ir.Value], bool] = lambda value: True) -> Callable[[ir.Model], Sequence[Any]]:
    return lambda model: [value for value in floats(model) if fits(value)]


def _has_rows(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) >= 2


def _off_by_one(model: ir.Model, value: ir.Value, rng: random.Random) -> None:
    """A slice that begins one row late, and wraps around."""
    assert value.shape is not None
    axis = new_constant(model, np.array([rng.randrange(1, len(value.shape))]))
    wire = Wire(model, value)
    zero, one, end = (new_constant(model, np.array([number])) for number in (0, 1, 2**31))
    head = wire.add("Slice", [value, zero, one, axis])
    rest = wire.add("Slice", [value, one, end, axis])
    place = axis.const_value
    assert place is not None
    wire.end(wire.add("Concat", [rest, head], axis=int(place.numpy()[0])))


def _through(kind: ir.DataType) -> Callable[[ir.Model, ir.Value, random.Random], None]:
    def plant(model: ir.Model, value: ir.Value, rng: random.Random) -> None:
        wire = Wire(model, value)
        wire.end(wire.add("Cast", [wire.add("Cast", [value], to=int(kind))], to=int(_FLOAT)))

    return plant


def _scaled(model: ir.Model, value: ir.Value, rng: random.Random) -> None:
    wire = Wire(model, value)
    factor = new_constant(model, np.array(1 + 10 ** rng.uniform(-7, -2), np.float32))
    wire.end(wire.add("Mul", [value, factor]))


def _noisy(model: ir.Model, value: ir.Value, rng: random.Random) -> None:
    """A function by a cheaper formula: off by a little that depends on the argument."""
    wire = Wire(model, value)
    size = new_constant(model, np.array(10 ** rng.uniform(-7, -2), np.float32))
    ripple = wire.add("Sin", [wire.add("Mul", [value, new_constant(model, np.array(97, np.float32))])])
    wire.end(wire.add("Add", [value, wire.add("Mul", [wire.add("Mul", [ripple, size]), value])]))


def _half_products(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    """Factors and sums in float16."""
    wire = Wire(model, node.outputs[0])
    halves = [wire.add("Cast", [operand], to=int(_HALF)) for operand in node.inputs]
    wire.end(wire.add("Cast", [wire.add("MatMul", halves)], to=int(_FLOAT)))


def _read_further(node: ir.Node) -> bool:
    return bool(node.outputs[0].uses()) and not node.outputs[0].is_graph_output()


def _stale_size(model: ir.Model, value: ir.Value, rng: random.Random) -> None:
    """Behind the size that a dim once had there is nothing."""
    assert value.shape is not None
    axis = rng.choice(_dynamic_axes(value))
    wire = Wire(model, value)
    size = wire.add("Shape", [value], start=axis, end=axis + 1)
    scalar = wire.add("Squeeze", [size])
    zero, one = (new_constant(model, np.array(number)) for number in (0, 1))
    place = wire.add("Range", [zero, scalar, one])
    known = wire.add("Less", [place, new_constant(model, np.array(rng.choice((1, 2, 3))))])
    behind = len(value.shape) - axis - 1
    column = wire.add("Reshape", [known, new_constant(model, np.array([-1] + [1] * behind))])
    wire.end(wire.add("Where", [column, value, new_constant(model, np.array(0, np.float32))]))


def _dynamic_axes(value: ir.Value) -> list[int]:
    return [axis for axis, size in enumerate(value.shape or ()) if not isinstance(size, int)]


def _narrow_indices(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    """Indices that overflow, as those beyond 32 bits do in a runtime that counts in int32."""
    indices = node.inputs[1]
    table = constant_of(node.inputs[0])
    if indices is None or indices.const_value is not None or table is None or table.shape[0] <= 128:
        raise NoPlaceError
    wide = ir.node("Cast", [indices], attributes={"to": int(_INT8)})
    back = ir.node("Cast", [wide.outputs[0]], attributes={"to": int(ir.DataType.INT64)})
    for made in (wide, back):
        made.outputs[0].name = f"planted_{id(made)}"
    model.graph.insert_before(node, [wide, back])
    node.replace_input_with(1, back.outputs[0])


def _other_rows(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    """Looked up one row further."""
    table = constant_of(node.inputs[0])
    if table is None or node.inputs[0] is None or table.dtype != np.float32:
        raise NoPlaceError
    node.replace_input_with(0, new_constant(model, np.roll(table, 1, whole(node, "axis", 0))))


def _clip_bound(model: ir.Model, node: ir.Node, rng: random.Random) -> None:
    bound = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if bound is None:
        raise NoPlaceError
    node.replace_input_with(2, new_constant(model, np.asarray(bound * 0.9, bound.dtype)))


def _wrong_constant(_: ir.Model, value: ir.Value, rng: random.Random) -> None:
    """A number that was written down with too few digits."""
    array = constant_of(value)
    assert array is not None
    set_weight(value, np.asarray(np.float32(f"{float(array.flat[0]):.2g}"), np.float32).reshape(array.shape))


def _scalars(model: ir.Model) -> list[ir.Value]:
    found = []
    for value in model.graph.initializers.values():
        array = constant_of(value)
        if array is not None and array.dtype == np.float32 and array.size == 1 and value.uses():
            number = float(array.flat[0])
            if np.isfinite(number) and np.float32(f"{number:.2g}") != np.float32(number):
                found.append(value)
    return found


FAULTS = [
    GraphFault("a wrong epsilon", _at(*_NORMS), _epsilon),
    GraphFault("a softmax over another axis", _at("Softmax"), _softmax_axis),
    GraphFault("padding on the wrong side", _at("Conv", "Pad", "MaxPool", fits=_is_padded), _padding_side),
    GraphFault("gelu by the other formula", _at("Gelu"), _gelu_by_tanh),
    GraphFault("another activation", _at(*_OTHER), _other_activation),
    GraphFault("a wrong scale of attention", _at("Attention"), _attention_scale),
    GraphFault("a mask left out", _at("Attention", fits=_has_mask), _no_mask),
    GraphFault("another reduction", _at("ReduceMean", "ReduceSum", "ReduceMax"), _reduced_axis_kept),
    GraphFault("an activation left out", _at("Relu", "Gelu", "Swish", "Tanh", "Sigmoid"), _left_out),
    GraphFault("a norm left out", _at(*_NORMS), _left_out),
    GraphFault("a residual left out", _at("Add", fits=_is_residual), _left_out),
    GraphFault("operands exchanged", _at("Sub", "Div", "Where"), _exchanged_operands),
    GraphFault("a slice off by one", _sites_of_floats(_has_rows), _off_by_one),
    GraphFault("bfloat16 in the middle", _sites_of_floats(), _through(_BFLOAT)),
    GraphFault("float16 in the middle", _sites_of_floats(), _through(_HALF)),
    GraphFault("products in float16", _at("MatMul", fits=_read_further), _half_products),
    GraphFault("a value that is scaled", _sites_of_floats(), _scaled),
    GraphFault("a cheap formula", _sites_of_floats(), _noisy),
    GraphFault("a size that is stale", _sites_of_floats(lambda value: bool(_dynamic_axes(value))), _stale_size),
    GraphFault("indices that overflow", _at("Gather"), _narrow_indices),
    GraphFault("a table off by one", _at("Gather"), _other_rows),
    GraphFault("a bound that is too low", _at("Clip"), _clip_bound),
    GraphFault("a constant with two digits", _scalars, _wrong_constant),
]
