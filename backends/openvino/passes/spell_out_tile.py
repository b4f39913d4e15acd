"""Tile(x, r) = Reshape(Expand(Reshape(x, 1 d1 1 d2 ...), r1 d1 r2 d2 ...), r1*d1 r2*d2 ...).

OpenVINO's Tile gives wrong numbers where repeats that are computed at run time repeat the last three axes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_constant, is_op, rank


class SpellOutTile(LocalRewrite):
    """Only for repeats that are not constant."""

    def visit(self, node: ir.Node) -> None:
        data, repeats = input_of(node, 0), input_of(node, 1)
        if not is_op(node, "Tile") or data is None or repeats is None or is_constant(repeats):
            return
        axes = rank(data)
        if axes is None:
            self.decline(node, "its rank is not known")
            return
        whole = ir.DataType.INT64
        sizes = self.edit.insert(node, "Shape", [data], dtype=whole)
        ones = self.edit.constant(np.ones(axes, np.int64), data)
        apart = self.edit.insert(node, "Reshape", [data, self._interleaved(node, ones, sizes)], dtype=data.dtype)
        wide = self.edit.insert(node, "Expand", [apart, self._interleaved(node, repeats, sizes)], dtype=data.dtype)
        result = self.edit.insert(node, "Mul", [sizes, repeats], dtype=whole)
        self.edit.become(node, "Reshape", [wide, result], {"allowzero": 1})

    def _interleaved(self, node: ir.Node, first: ir.Value, second: ir.Value) -> ir.Value:
        """first[0] second[0] first[1] second[1] ..."""
        whole, last = ir.DataType.INT64, self.edit.constant(np.array([1]), second)
        columns = [self.edit.insert(node, "Unsqueeze", [value, last], dtype=whole) for value in (first, second)]
        pairs = self.edit.insert(node, "Concat", columns, {"axis": 1}, dtype=whole)
        return self.edit.insert(node, "Reshape", [pairs, self.edit.constant(np.array([-1]), second)], dtype=whole)
