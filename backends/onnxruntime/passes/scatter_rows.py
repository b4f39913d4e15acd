"""For row indices i: ScatterND[add](data, i, updates) = ScatterElements[axis 0, add](data, expand(i), updates).

ONNX Runtime's CPU kernel of ScatterND with a reduction is wrong on repeated indices when it runs on more than one
thread: the additions race. ScatterElements is right. torch writes `index_add` and accumulating `index_put` as
ScatterND, so graph networks meet this.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.ir.provenance import inherit
from compiler.passes.declined import Declining


class ScatterRows(Declining, ir.passes.InPlacePass):
    """Rewrites every reducing ScatterND whose indices select whole rows."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in list(graph):
                if (
                    node.op_type == "ScatterND"
                    and node.domain == ""
                    and node.attributes.get_string("reduction", "none") != "none"
                ):
                    modified |= self._rewrite(graph, node)
        return ir.passes.PassResult(model, modified)

    def _rewrite(self, graph: ir.Graph, node: ir.Node) -> bool:
        data, indices, updates = node.inputs
        assert data is not None and indices is not None and updates is not None
        if indices.shape is None or updates.shape is None or len(indices.shape) != 2 or indices.shape[1] != 1:
            self.decline(node, "its indices do not select rows one by one; it may be wrong on several threads")
            return False
        rank = len(updates.shape)
        added: list[ir.Node] = []

        def add(op_type: str, *inputs: ir.Value, **attributes: ir.Attr) -> ir.Value:
            added.append(ir.Node("", op_type, inputs, list(attributes.values()), name=f"{node.name}_{op_type}"))
            return added[-1].outputs[0]

        rows = indices
        if rank != 2:
            # [rows, 1] becomes [rows] or [rows, 1, 1, ...], which broadcasts over the rest of an update.
            shape = _constant(graph, f"{node.name}_rows", [-1] + [1] * (rank - 1))
            rows = add("Reshape", indices, shape)
        whole = add("Expand", rows, add("Shape", updates))
        reduction = node.attributes["reduction"]
        add("ScatterElements", data, whole, updates, axis=ir.AttrInt64("axis", 0), reduction=reduction)
        _take_over(node.outputs[0], added[-1].outputs[0])
        inherit(added, [node])
        graph.insert_before(node, added)
        ir.convenience.replace_all_uses_with(node.outputs[0], added[-1].outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        return True


def _constant(graph: ir.Graph, name: str, values: list[int]) -> ir.Value:
    tensor = ir.tensor(np.array(values, dtype=np.int64), name=name)
    value = ir.Value(name=name, shape=ir.Shape([len(values)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _take_over(old: ir.Value, new: ir.Value) -> None:
    """The new value is known by the old one's name, type and shape."""
    new.name, new.type, new.shape = old.name, old.type, old.shape
    old.name = None
