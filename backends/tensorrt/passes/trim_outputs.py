"""Outputs that nobody reads are left away: TensorRT's parser refuses to see them at all."""

from __future__ import annotations

import onnx_ir as ir

_ONE_OUTPUT = frozenset({"Attention", "Dropout", "LayerNormalization", "MaxPool"})


class TrimOutputs(ir.passes.InPlacePass):
    """The optional outputs at the end of a node's list."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.domain == "" and node.op_type in _ONE_OUTPUT:
                needed = 1 + max((place for place, value in enumerate(node.outputs) if _is_read(value)), default=0)
                if needed < len(node.outputs):
                    node.resize_outputs(needed)
                    modified = True
        return ir.passes.PassResult(model, modified)


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
