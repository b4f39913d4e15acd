"""BatchNorm(W x + b) = (s W) x + (b - mean) s + beta, with s = gamma / sqrt(var + eps).

onnxscript's rules for this compute in float32 and scale the wrong axis of a grouped ConvTranspose; here the folding is
done in float64, and a weight that others use stays as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.provenance import inherit
from compiler.passes.linear import linear
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_op, wanted


class FoldBatchNorms(LocalRewrite):
    """Into Conv, ConvTranspose and Gemm whole; of a MatMul's the shift stays, as an Add."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "BatchNormalization") or any(map(wanted, node.outputs[1:])):
            return
        source = node.inputs[0]
        producer = source.producer() if source is not None else None
        target = linear(producer)
        if source is None or producer is None or target is None or node.attributes.get_int("training_mode", 0) != 0:
            return
        affine = _affine(node)
        objection = target.objection()
        if affine is None:
            objection = "its statistics are not constant"
        elif affine[0].size != target.channels or (target.axis == -1 and target.rank != 2):
            objection = f"its channels are not those of {producer.op_type}"
        if objection is not None or affine is None:
            self.decline(node, objection or "")
            return
        scale, shift = affine
        failed = target.absorb(self.edit, scale, shift if target.takes_shift else None)
        if failed is not None:
            self.decline(node, failed)
        elif target.takes_shift:
            self.edit.take_over(node, producer)
        else:
            assert source.dtype is not None
            inherit([producer], [node])
            rest = self.edit.constant(shift.astype(source.dtype.numpy()), node.outputs[0], source.dtype)
            self.edit.become(node, "Add", [source, rest], origins=[producer])


def _affine(node: ir.Node) -> tuple[Array, Array] | None:
    parts = [constant(input_of(node, index)) for index in range(1, 5)]
    if any(part is None for part in parts):
        return None
    gamma, beta, mean, variance = (np.asarray(part).astype(np.float64) for part in parts)
    scale = gamma / np.sqrt(variance + np.float64(np.float32(node.attributes.get_float("epsilon", 1e-5))))
    return scale, beta - mean * scale
