"""Pool[ceil_mode](x) = Pool(x), where rounding up adds windows that begin behind the data and its padding before.

ONNX and PyTorch leave such windows out; OpenVINO computes them. Where another axis does round up, a MaxPool is padded
by as much as its last window lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op, static_shape


class SpellOutCeil(LocalRewrite):
    """For pools of a known size that have such windows."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "MaxPool", "AveragePool") or not node.attributes.get_int("ceil_mode", 0):
            return
        sizes = static_shape(input_of(node, 0))
        if sizes is None or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
            self.decline(node, "its size is not known")
            return
        axes = len(sizes) - 2
        kernel, strides, dilations = (_per_axis(node, name, axes) for name in ("kernel_shape", "strides", "dilations"))
        pads = list(node.attributes.get_ints("pads", [0] * 2 * axes))
        ends, surplus = [], False
        for axis, size in enumerate(sizes[2:]):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            before, after = pads[axis], pads[axis + axes]
            left = size + before + after - reach
            up = -(-left // strides[axis])
            begins_behind = up * strides[axis] >= size + before
            surplus |= begins_behind
            ends.append(after if begins_behind else max(up * strides[axis] + reach - size - before, after))
        if not surplus:
            return
        if ends != pads[axes:] and node.op_type == "AveragePool":
            self.decline(node, "padding would change its averages")
            return
        node.attributes.pop("ceil_mode")
        node.attributes["pads"] = ir.AttrInt64s("pads", pads[:axes] + ends)
        self.edit.modified = True


def _per_axis(node: ir.Node, name: str, axes: int) -> Sequence[int]:
    return node.attributes.get_ints(name, [1] * axes)
