"""An operator that TensorRT takes in some forms only becomes, in the other forms, what ONNX defines it through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir

from backends.tensorrt.legality import LEGALITY
from compiler.passes.declined import Declining
from compiler.passes.legalize import Legalize


class ExpandUntaken(Declining, ir.passes.InPlacePass):
    """Where one node of a kind cannot stay, all of its kind in the model go: they tend to be alike."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        refused: dict[str, str] = {}
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            objection = _OBJECTIONS.get(node.op_type) if node.domain == "" else None
            if objection is not None and (why := objection(node)) is not None:
                refused[node.op_type] = why
                self.decline(node, f"expanded: {why}")
        if not refused:
            return ir.passes.PassResult(model, False)
        return Legalize(replace(LEGALITY, refuses={**LEGALITY.refuses, **refused}), "tensorrt")(model)


def _attention(node: ir.Node) -> str | None:
    query, key, value, mask = (*node.inputs, None, None, None, None)[:4]
    if any(used for used in node.inputs[4:]) or any(output.name for output in node.outputs[1:]):
        return "it keeps keys and values from call to call"
    for name in ("softcap", "softmax_precision", "qk_matmul_output_mode"):
        if (attribute := node.attributes.get(name)) is not None and attribute.value:
            return f"TensorRT's Attention has no {name}"
    if mask is not None and node.attributes.get_int("is_causal"):
        return "TensorRT's Attention takes a mask or is causal, not both"
    if query is key:
        return "TensorRT-RTX crashes where the query is the key"
    if key is None or value is None or _width(key) != _width(value):
        return "TensorRT's Attention wants values as wide as keys"
    return None


def _width(tensor: ir.Value) -> object:
    return tensor.shape[-1] if tensor.shape is not None else None


def _layer_normalization(node: ir.Node) -> str | None:
    more = any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    return "TensorRT's LayerNormalization gives neither mean nor deviation" if more else None


_OBJECTIONS: dict[str, Callable[[ir.Node], str | None]] = {
    "Attention": _attention,
    "LayerNormalization": _layer_normalization,
}
