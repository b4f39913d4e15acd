"""Reshape(Gather(w, Reshape(i, [-1])), [*i.shape, ...]) = Gather(w, i): indices need not stand in a row.

Exporters flatten them for an EmbeddingBag and for tables that are looked up with several axes.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import LocalRewrite, is_op, made_by

_KINDS = ("Reshape", "Unsqueeze", "Squeeze", "Flatten")


class UnflattenGathers(LocalRewrite):
    """Along the first axis; what comes out must have the axes of the indices, and then those of a row."""

    def visit(self, node: ir.Node) -> None:
        gather = made_by(node.inputs[0], "Gather") if is_op(node, *_KINDS) else None
        flat = made_by(gather.inputs[1], *_KINDS) if gather is not None else None
        if gather is None or flat is None or gather.attributes.get_int("axis", 0) != 0:
            return
        table, indices = gather.inputs[0], flat.inputs[0]
        rows, places, result = sizes_of(table), sizes_of(indices), sizes_of(node.outputs[0])
        if rows is None or places is None or result is None or None in result or result != (*places, *rows[1:]):
            return
        if len(gather.outputs[0].uses()) > 1 or gather.outputs[0].is_graph_output():
            return
        self.edit.become(node, "Gather", [table, indices], {"axis": 0}, origins=[gather])
