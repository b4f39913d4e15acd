"""RoiAlign of opset 22 = RoiAlign of opset 16, in a graph that means the same at opset 21.

ONNX Runtime has no kernel of the newer definition, which takes one more type and is otherwise the same.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from compiler.contracts import Legality
from compiler.passes.legalize import Legalize

_OLDER = 21


class OlderRoiAlign(ir.passes.InPlacePass):
    """Moves a graph with a RoiAlign, or a RoI pooling, to the last opset that has the older definition."""

    def __init__(self, legality: Legality) -> None:
        self._legality = replace(legality, opsets={**legality.opsets, "": _OLDER})

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        newer = model.opset_imports.get("", 0) > _OLDER
        if not newer or all(node.op_type not in ("RoiAlign", "MaxRoiPool") for node in model.graph.all_nodes()):
            return ir.passes.PassResult(model, False)
        return Legalize(self._legality, "onnxruntime")(model)
