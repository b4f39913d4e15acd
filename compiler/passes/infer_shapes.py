"""Types and shapes of intermediate values, as far as the operators' schemas tell."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compiler.quiet import quiet

# What these give, or hand on from a subgraph, may be a sequence; onnx-ir would call it a tensor.
_MAY_BE_SEQUENCE = {
    "SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceMap", "SplitToSequence",
    "Optional", "OptionalGetElement", "Identity", "If", "Loop", "Scan",
}  # fmt: skip


class InferShapes(ir.passes.InPlacePass):
    """onnx's own inference, except that what the model's interface says about itself is left as it is."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        interface = [(value, value.type, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
        untyped = [value for value in _values(model) if value.type is None]
        before = _known(model)
        with quiet():
            ShapeInferencePass()(model)
        for value, kind, shape in interface:
            value.type, value.shape = kind, shape
        for value in untyped:
            producer = value.producer()
            if producer is None or producer.op_type in _MAY_BE_SEQUENCE:
                value.type = value.shape = None
        return ir.passes.PassResult(model, before != _known(model))


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _known(model: ir.Model) -> list[tuple[ir.TypeProtocol | None, ir.Shape | None]]:
    return [(value.type, value.shape) for value in _values(model)]
