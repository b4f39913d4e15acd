"""Operators that are linear in a constant weight, and how a scale and a shift of their result go into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import Edit, constant, input_of, is_constant, is_op, rank, static_shape

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Linear:
    """y = weight (x) + bias, with `channels` results along `axis` of y."""

    node: ir.Node
    weight: ir.Value
    bias: ir.Value | None
    channels: int
    rank: int | None  # of y

    @property
    def axis(self) -> int:
        """The axis of y that the bias belongs to; for a MatMul the last one."""
        return -1 if self.node.op_type in ("Gemm", "MatMul") else 1

    def per_channel(self, array: Array) -> Array | None:
        """A constant that is broadcast over y as one number for each channel, in float64; None where it is more."""
        wide = array.astype(np.float64)
        if array.size == 1:
            if self.rank is None or array.ndim > self.rank:
                return None
            return np.full(self.channels, wide.reshape(-1)[0])
        if self.rank is None or array.ndim > self.rank:
            return None
        place = (self.axis % self.rank) - (self.rank - array.ndim)
        if place < 0 or array.size != self.channels or array.shape[place] != self.channels:
            return None
        return np.asarray(wide.reshape(-1))

    def objection(self) -> str | None:
        """Why the weight must not change."""
        if len(self.node.outputs[0].uses()) > 1 or self.node.outputs[0].is_graph_output():
            return f"the result of {self.node.op_type} has other users"
        if len(self.weight.uses()) > 1 or self.weight.is_graph_output():
            return f"'{self.weight.name}' is shared, and would be stored twice"
        return None

    def absorb(self, edit: Edit, scale: Array | None, shift: Array | None) -> str | None:
        """y becomes y * scale + shift; why not, where that cannot be."""
        dtype = self.weight.dtype
        assert dtype is not None
        weight = self._scaled_weight(scale) if scale is not None else None
        bias = self._new_bias(scale, shift)
        with np.errstate(over="ignore", under="ignore"):
            for array in (weight, bias):
                if array is not None and not np.isfinite(array.astype(dtype.numpy())).all():
                    return "the weights would leave the range of their type"
            if weight is not None:
                value = edit.constant(weight.astype(dtype.numpy()), self.weight, dtype)
                self._rename(edit, value)
                self.node.replace_input_with(1, value)
            if bias is not None:
                value = edit.constant(
                    bias.astype(dtype.numpy()), self.weight if self.bias is None else self.bias, dtype
                )
                self.node.resize_inputs(3)
                self.node.replace_input_with(2, value)
                self.node.attributes.pop("beta", None)
        edit.prune([self.weight, *([self.bias] if self.bias is not None else [])])
        edit.modified = True
        return None

    def _rename(self, edit: Edit, value: ir.Value) -> None:
        """The folded weight keeps the name by which a user knows it."""
        graph, name = self.weight.graph, str(self.weight.name)
        if graph is not value.graph or graph is None:
            return
        assert isinstance(graph, ir.Graph)
        graph.initializers.pop(name)
        graph.initializers.pop(str(value.name))
        self.node.replace_input_with(1, None)
        value.name = name
        graph.register_initializer(value)

    def _scaled_weight(self, scale: Array) -> Array:
        weight = constant(self.weight)
        assert weight is not None
        wide = weight.astype(np.float64)
        if self.node.op_type == "Conv":
            return np.asarray(wide * scale.reshape(-1, *[1] * (wide.ndim - 1)))
        if self.node.op_type == "ConvTranspose":
            groups = self.node.attributes.get_int("group", 1)
            split = wide.reshape(groups, wide.shape[0] // groups, *wide.shape[1:])
            factors = scale.reshape(groups, 1, wide.shape[1], *[1] * (wide.ndim - 2))
            return np.asarray((split * factors).reshape(wide.shape))
        if self.node.op_type == "Gemm" and self.node.attributes.get_int("transB", 0) != 0:
            return np.asarray(wide * scale.reshape(-1, 1))
        return np.asarray(wide * scale)

    def _new_bias(self, scale: Array | None, shift: Array | None) -> Array | None:
        old = constant(self.bias)
        if old is None:
            return shift
        wide = old.astype(np.float64) * self.node.attributes.get_float("beta", 1.0)
        scaled = wide if scale is None else wide * scale
        return np.asarray(scaled if shift is None else scaled + shift)

    @property
    def takes_shift(self) -> bool:
        return self.node.op_type != "MatMul"


def linear(node: ir.Node | None) -> Linear | None:
    """A node as a linear operator, if its weight and bias are constant floats."""
    if node is None or not is_op(node, *LINEAR):
        return None
    weight, bias = input_of(node, 1), input_of(node, 2)
    if weight is None or not is_constant(weight) or weight.dtype not in _FLOATS or weight.dtype is None:
        return None
    if bias is not None and not is_constant(bias):
        return None
    sizes = static_shape(weight)
    if sizes is None or len(sizes) < 2:
        return None
    if node.op_type == "Conv":
        channels = sizes[0]
    elif node.op_type == "ConvTranspose":
        channels = sizes[1] * node.attributes.get_int("group", 1)
    elif node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0:
        channels = sizes[0]
    else:
        channels = sizes[-1]
    if node.op_type == "Gemm" and bias is not None and static_shape(bias) not in ((channels,), (1, channels)):
        return None
    known = 2 if node.op_type == "Gemm" else rank(node.outputs[0])
    if known is None and node.op_type in ("Conv", "ConvTranspose"):
        known = len(sizes)
    return Linear(node, weight, bias, channels, known)
