"""Attention = the body that ONNX defines it with, where ONNX Runtime's own kernel is wrong.

Its kernel refuses a mask beside the numbers of valid keys, and where it hands out the scores it writes the lowest
number in place of -inf.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from compiler.contracts import Legality
from compiler.passes.legalize import Legalize
from compiler.passes.rewriting import input_of, is_op

_MASK, _VALID_KEYS, _SCORES = 3, 6, 3


class SplitAttention(ir.passes.InPlacePass):
    """In a graph with an Attention of those kinds, every Attention is split up."""

    def __init__(self, legality: Legality) -> None:
        self._legality = replace(legality, refuses={**legality.refuses, "Attention": "its kernel is wrong"})

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not any(_is_wrong(node) for node in model.graph.all_nodes()):
            return ir.passes.PassResult(model, False)
        return Legalize(self._legality, "onnxruntime")(model)


def _is_wrong(node: ir.Node) -> bool:
    if not is_op(node, "Attention"):
        return False
    masked = input_of(node, _MASK) is not None
    scores = len(node.outputs) > _SCORES and bool(node.outputs[_SCORES].name)
    return masked and (scores or input_of(node, _VALID_KEYS) is not None)
