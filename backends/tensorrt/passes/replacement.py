"""New nodes in the place of an old one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.provenance import inherit


class Replacement:
    """Collects what is to stand where a node stands now; names follow from the node's own."""

    def __init__(self, node: ir.Node) -> None:
        assert node.graph is not None
        self._node = node
        self._graph = node.graph
        self._base = node.outputs[0].name
        self._added: list[ir.Node] = []
        self._constants = 0

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        name = f"{self._base}/{op_type}_{len(self._added)}"
        made = ir.node(op_type, inputs, attributes, outputs=[ir.Value(name=name)], name=name)
        self._added.append(made)
        return made.outputs[0]

    def constant(self, content: Any, dtype: Any = np.int64) -> ir.Value:
        array: Array = np.asarray(content, dtype)
        name = f"{self._base}/constant_{self._constants}"
        self._constants += 1
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        assert isinstance(self._graph, ir.Graph)
        self._graph.register_initializer(value)
        return value

    def finish(self, result: ir.Value) -> None:
        """The node goes; its first output's users, name, type and shape go to `result`."""
        old = self._node.outputs[0]
        result.name, result.type, result.shape = old.name, old.type, old.shape
        old.name = None
        inherit(self._added, [self._node])
        self._graph.insert_before(self._node, self._added)
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self._graph.remove(self._node, safe=True)
