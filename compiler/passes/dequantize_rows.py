"""Gather(DequantizeLinear(q, s, z), i) = DequantizeLinear(Gather(q, i), Gather(s, i), Gather(z, i)), of constant rows.

A table of embeddings stays whole numbers in memory, and only the rows that are asked for are read. A runtime that
does not see this reads all of the table in each call, or keeps it in float32.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_constant, is_op, made_by, rank, static_shape

_OLDEST = 21  # the opset since which there are blocks
_TAKEN = (ir.DataType.INT8, ir.DataType.UINT8)  # Gather knows no narrower ones


class DequantizeRows(LocalRewrite):
    """For tables with a scale for each row, or for blocks within a row. Other users keep the table as it is."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Gather") or self.edit.opset < _OLDEST or node.attributes.get_int("axis", 0) not in (0, -2):
            return
        indices, read = input_of(node, 1), made_by(input_of(node, 0), "DequantizeLinear")
        if indices is None or read is None or (parts := _rows(read)) is None:
            return
        taken = rank(indices)
        if taken is None:
            self.decline(node, "nobody knows how many dimensions its indices have")
            return
        columns = parts[0].shape[1] if parts[0].shape is not None else 1
        blocks = read.attributes.get_int("block_size", 0) or columns
        picked = [self._picked(node, indices, part) for part in parts]
        self.edit.become(node, "DequantizeLinear", picked, {"axis": taken, "block_size": blocks}, origins=[read])

    def _picked(self, node: ir.Node, indices: ir.Value, part: ir.Value) -> ir.Value:
        array = part.const_value
        assert array is not None
        if rank(part) == 1:
            part = self.edit.constant(array.numpy().reshape(-1, 1), part, part.dtype)
        assert indices.shape is not None and part.shape is not None
        shape = ir.Shape([*indices.shape, *part.shape[1:]])
        return self.edit.insert(node, "Gather", [part, indices], {"axis": 0}, dtype=part.dtype, shape=shape)


def _rows(read: ir.Node) -> list[ir.Value] | None:
    """The constants of a table whose rows can be read by themselves."""
    parts = [value for value in read.inputs if value is not None]
    if not all(map(is_constant, parts)) or len(static_shape(parts[0]) or ()) != 2 or parts[0].dtype not in _TAKEN:
        return None
    axis, blocks = read.attributes.get_int("axis", 1) % 2, read.attributes.get_int("block_size", 0)
    shape = static_shape(parts[1])
    fits = (axis == 1 and len(shape or ()) == 2) if blocks else (axis == 0 and len(shape or ()) == 1 and shape != (1,))
    return parts if fits else None
