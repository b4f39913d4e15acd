"""Unsqueeze(x, a) = Reshape(x, ScatterElements(Scatter 1 at a among the rank(x) + |a| axes, the sizes of x elsewhere)).

OpenVINO's CPU takes no Unsqueeze whose axes are known at run time only: it does not see how many they are.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_constant, is_op, made_by, rank, static_shape

_WHOLE = ir.DataType.INT64


class SpellOutUnsqueeze(LocalRewrite):
    """Only for axes that are not constant."""

    def visit(self, node: ir.Node) -> None:
        data, axes = input_of(node, 0), input_of(node, 1)
        if not is_op(node, "Unsqueeze") or data is None or axes is None:
            return
        if is_constant(axes) or made_by(axes, "Constant"):
            return
        old, new = rank(data), static_shape(axes)
        if old is None or new is None:
            self.decline(node, "the rank of its result is not known")
            return
        self.edit.become(node, "Reshape", [data, self._sizes(node, data, axes, old + sum(new))], {"allowzero": 1})

    def _sizes(self, node: ir.Node, data: ir.Value, axes: ir.Value, count: int) -> ir.Value:
        """The old sizes in their order, with ones in between."""

        def add(operator: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
            return self.edit.insert(node, operator, inputs, attributes, dtype=_WHOLE)

        def number(*numbers: int) -> ir.Value:
            return self.edit.constant(np.array(numbers), data)

        added = add("ScatterElements", number(*[0] * count), axes, add("Expand", number(1), add("Shape", axes)), axis=0)
        # Which axis of the data a kept one is: how many are kept up to it, itself not counted.
        kept = add("Sub", number(*[1] * count), added)
        places = add("CumSum", kept, self.edit.constant(np.array(0), data), exclusive=1)
        sizes = add("Concat", add("Shape", data), number(1), axis=0)  # behind the last old axis there may be new ones
        found = add("Gather", sizes, places)
        return add("Add", added, add("Mul", kept, found))
