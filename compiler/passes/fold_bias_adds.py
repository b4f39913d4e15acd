"""MatMul(x, w) + b = Gemm(x, w, b), where x is a matrix.

Of more dimensions a Gemm would need a Reshape on either side, which costs what it saves.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op, made_by, rank, static_shape

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class FoldBiasAdds(LocalRewrite):
    """The bias must be one row, so that what comes out has the shape of the product."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Add"):
            return
        for index in (0, 1):
            product = made_by(node.inputs[index], "MatMul")
            bias = input_of(node, 1 - index)
            if product is None or bias is None or bias.dtype not in _FLOATS:
                continue
            left, right = product.inputs
            if rank(left) != 2 or rank(right) != 2:
                continue
            if len(product.outputs[0].uses()) > 1 or product.outputs[0].is_graph_output():
                self.decline(node, "the product has other users")
                continue
            columns = (static_shape(right) or (None, None))[1]
            if columns is None or static_shape(bias) not in ((columns,), (1, columns)):
                self.decline(node, f"'{bias.name}' is not one row of {columns or '?'}")
                continue
            self.edit.become(node, "Gemm", [left, right, bias], origins=[product])
            return
