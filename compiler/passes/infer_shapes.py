"""Types and shapes of intermediate values, as far as the operators' schemas tell."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

Known = tuple[ir.TypeProtocol | None, ir.Shape | None]


class InferShapes(ir.passes.InPlacePass):
    """onnx's own inference, except that what the model's interface says about itself is left as it is."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        interface = [(value, value.type, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
        before = _known(model)
        ShapeInferencePass()(model)
        for value, kind, shape in interface:
            value.type, value.shape = kind, shape
        return ir.passes.PassResult(model, before != _known(model))


def _known(model: ir.Model) -> list[Known]:
    return [(value.type, value.shape) for node in model.graph.all_nodes() for value in node.outputs]
