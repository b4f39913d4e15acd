"""DFT[float32](x) = Cast[float32](DFT[float64](Cast[float64](x))), and the same for STFT.

ONNX Runtime sums a transform of any length but a power of two term by term, with angles rounded to float32: at
1000 points its error is thousands of times PyTorch's.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, is_op

_D = ir.DataType
_SIGNALS = {"DFT": (0,), "STFT": (0, 2)}  # which inputs hold the numbers


class PreciseTransforms(LocalRewrite):
    """For every transform in float32."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, *_SIGNALS) or node.inputs[0] is None or node.inputs[0].dtype is not _D.FLOAT:
            return
        inputs = list(node.inputs)
        for index in _SIGNALS[node.op_type]:
            value = inputs[index] if index < len(inputs) else None
            if value is not None:
                inputs[index] = self.edit.insert(
                    node, "Cast", [value], {"to": _D.DOUBLE}, dtype=_D.DOUBLE, shape=value.shape
                )
        precise = self.edit.insert(
            node, node.op_type, inputs, dict(node.attributes), dtype=_D.DOUBLE, shape=node.outputs[0].shape
        )
        self.edit.become(node, "Cast", [precise], {"to": _D.FLOAT})
