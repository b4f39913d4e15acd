"""RNN[layout=1](x, ..., h) = the same with layout=0 on x and h transposed, its results transposed back.

Likewise LSTM and GRU. With layout 0 the axes are sequence, batch, features; the runtimes know no other.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, input_of, is_op

_STATES = (5, 6)  # the places of the initial hidden state and, in an LSTM, of the cell state
_SWAP = [1, 0, 2]


class SequenceMajor(LocalRewrite):
    """For every recurrent operator whose batch comes first."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "RNN", "GRU", "LSTM") or not node.attributes.get_int("layout"):
            return
        del node.attributes["layout"]
        for index in (0, *_STATES):
            value = input_of(node, index)
            if value is not None:
                node.replace_input_with(index, self._transposed(node, value, _SWAP))
        # Y is sequence, directions, batch, features here, and batch, sequence, directions, features there.
        for value, order in zip(node.outputs, ([2, 0, 1, 3], _SWAP, _SWAP), strict=False):
            if value.name:
                self._turn(node, value, order)
        self.edit.modified = True

    def _transposed(self, node: ir.Node, value: ir.Value, order: list[int]) -> ir.Value:
        shape = None if value.shape is None else ir.Shape([value.shape[axis] for axis in order])
        return self.edit.insert(node, "Transpose", [value], {"perm": order}, dtype=value.dtype, shape=shape)

    def _turn(self, node: ir.Node, value: ir.Value, order: list[int]) -> None:
        """The node's own result, and behind it the value that everyone knows."""
        self.edit.follow(node, value, "Transpose", {"perm": order}, "sequence_major")
        if value.shape is not None:
            value.shape = ir.Shape([value.shape[order.index(axis)] for axis in range(len(order))])
