"""Types and shapes of intermediate values, as far as the operators' schemas tell."""

from __future__ import annotations

import onnx_ir as ir

from compiler.ir.inference import inferred


class InferShapes(ir.passes.InPlacePass):
    """onnx's own inference, except that what the model's interface says about itself is left as it is."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        interface = {*model.graph.inputs, *model.graph.outputs}
        for value, kind, shape in inferred(model):
            # What a subgraph takes, and does not say the type of, may be a sequence.
            if value in interface or (value.type is None and value.producer() is None):
                continue
            if kind is not None and kind.dtype != value.dtype:
                value.type = kind
                modified = True
            if shape is not None and shape != value.shape:
                value.shape = shape
                modified = True
        return ir.passes.PassResult(model, modified)
