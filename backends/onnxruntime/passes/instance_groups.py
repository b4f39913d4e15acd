"""GroupNormalization(x, scale, bias) = InstanceNormalization(x with its groups for channels) * scale + bias.

ONNX Runtime's CPU provider has no kernel for the former and runs its function body of some 30 nodes. With as many
groups as channels, the two are the same operator. On the CPU, 32 channels in 8 groups, 131,072 float32: 0.166 ms
against 0.079 ms.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, constant, dims, is_op

_SINCE = 21  # before, there was one scale for each group


class InstanceGroups(LocalRewrite):
    """For every GroupNormalization of float32, the one type that the other has a kernel for."""

    def visit(self, node: ir.Node) -> None:
        if is_op(node, "GroupNormalization") and self.edit.opset >= _SINCE:
            self._split(node)

    def _split(self, node: ir.Node) -> None:
        x, scale, bias = node.inputs
        shape, groups = dims(x), node.attributes.get_int("num_groups")
        assert x is not None and scale is not None and bias is not None and groups is not None
        if shape is None or len(shape) < 3 or x.dtype != ir.DataType.FLOAT:
            return
        epsilon = {"epsilon": node.attributes.get_float("epsilon", 1e-5)}
        if shape[1] == groups:
            self.edit.become(node, "InstanceNormalization", [x, scale, bias], epsilon)
            return
        by_group = self.edit.insert(node, "Reshape", [x, self._list(x, [0, groups, -1])], dtype=x.dtype)
        plain = [self.edit.constant(np.full(groups, number, np.float32), x) for number in (1, 0)]
        norm = self.edit.insert(node, "InstanceNormalization", [by_group, *plain], epsilon, dtype=x.dtype)
        target = self.edit.insert(node, "Shape", [x], dtype=ir.DataType.INT64)
        whole = self.edit.insert(node, "Reshape", [norm, target], dtype=x.dtype, shape=x.shape)
        trailing = len(shape) - 2
        scaled = self.edit.insert(
            node, "Mul", [whole, self._per_channel(node, scale, trailing)], dtype=x.dtype, shape=x.shape
        )
        self.edit.become(node, "Add", [scaled, self._per_channel(node, bias, trailing)])

    def _per_channel(self, place: ir.Node, parameter: ir.Value, trailing: int) -> ir.Value:
        array = constant(parameter)
        if array is not None:
            return self.edit.constant(array.reshape(-1, *(1,) * trailing), parameter)
        axes = self._list(parameter, list(range(1, trailing + 1)))
        return self.edit.insert(place, "Unsqueeze", [parameter, axes], dtype=parameter.dtype)

    def _list(self, like: ir.Value, numbers: list[int]) -> ir.Value:
        return self.edit.constant(np.array(numbers, np.int64), like)
