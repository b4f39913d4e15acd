"""Types and shapes of intermediate values, as far as the operators' schemas tell."""

from __future__ import annotations

import onnx_ir as ir

from compiler.ir.inference import inferred
from compiler.passes.rewriting import INVENTED, graphs, is_open


class InferShapes(ir.passes.InPlacePass):
    """onnx's own inference, where anything is left to find out.

    What the model's interface says about itself is left as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        interface = {*model.graph.inputs, *model.graph.outputs}
        results = (value for graph in graphs(model) for node in graph for value in node.outputs if value.name)
        if not any(value.type is None or is_open(value) for value in results if value not in interface):
            return ir.passes.PassResult(model, False)
        modified = False
        for value, kind, shape in inferred(model):
            # What a subgraph takes, and does not say the type of, may be a sequence.
            if value in interface or (value.type is None and value.producer() is None):
                continue
            if kind is not None and kind.dtype != value.dtype:
                value.type = kind
                modified = True
            if shape is not None and shape != value.shape:
                modified = modified or value.shape is None or _told(shape) != _told(value.shape)
                value.shape = shape
        return ir.passes.PassResult(model, modified)


def _told(shape: ir.Shape) -> list[int | str | None]:
    """A name that the inference gave to what it does not know tells nothing."""
    names = (dim if isinstance(dim, int) else dim.value for dim in shape)
    return [None if isinstance(name, str) and name.startswith(INVENTED) else name for name in names]
