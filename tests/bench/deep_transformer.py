"""A transformer of any depth with tiny weights, spelled out as an exporter does: what passes must be linear on."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEADS = 8, 2
OPSET = 18


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def number(self, content: float) -> str:
        return self.constant(np.array(content, np.float32))

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def weight(self, *shape: int) -> str:
        return self.constant(self._rng.standard_normal(shape).astype(np.float32))


def deep_transformer(nodes: int) -> onnx.ModelProto:
    """About as many nodes as asked for."""
    graph = _Graph()
    x = "x"
    while len(graph.nodes) < nodes:
        x = graph.node("Add", x, _attention(graph, _norm(graph, x)))
        x = graph.node("Add", x, _feed_forward(graph, _norm(graph, x)))
    shape = ["batch", "seq", WIDTH]
    made = helper.make_graph(
        graph.nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        graph.weights,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _norm(graph: _Graph, x: str) -> str:
    last = graph.ints(-1)
    centred = graph.node("Sub", x, graph.node("ReduceMean", x, last))
    spread = graph.node("ReduceMean", graph.node("Pow", centred, graph.number(2)), last)
    root = graph.node("Sqrt", graph.node("Add", spread, graph.number(1e-5)))
    scaled = graph.node("Mul", graph.node("Div", centred, root), graph.weight(WIDTH))
    return graph.node("Add", scaled, graph.weight(WIDTH))


def _linear(graph: _Graph, x: str, inner: int, outer: int) -> str:
    turned = graph.node("Transpose", graph.weight(outer, inner), perm=[1, 0])
    return graph.node("Add", graph.node("MatMul", x, turned), graph.weight(outer))


def _size(graph: _Graph, x: str, axis: int) -> str:
    found = graph.node("Gather", graph.node("Shape", x), graph.constant(np.array(axis, np.int64)))
    return graph.node("Unsqueeze", found, graph.ints(0))


def _heads(graph: _Graph, x: str) -> str:
    each = graph.ints(HEADS), graph.ints(WIDTH // HEADS)
    target = graph.node("Concat", _size(graph, x, 0), _size(graph, x, 1), *each, axis=0)
    return graph.node("Reshape", graph.node("Identity", x), target)


def _attention(graph: _Graph, x: str) -> str:
    query, key, value = (_heads(graph, _linear(graph, x, WIDTH, WIDTH)) for _ in range(3))
    query, value = (graph.node("Transpose", side, perm=[0, 2, 1, 3]) for side in (query, value))
    turned = graph.node("Transpose", graph.node("Transpose", key, perm=[0, 2, 1, 3]), perm=[0, 1, 3, 2])
    scores = graph.node("Div", graph.node("MatMul", query, turned), graph.number(2))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    together = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    target = graph.node("Concat", _size(graph, x, 0), _size(graph, x, 1), graph.ints(WIDTH), axis=0)
    return _linear(graph, graph.node("Reshape", together, target), WIDTH, WIDTH)


def _feed_forward(graph: _Graph, x: str) -> str:
    inner = _linear(graph, x, WIDTH, 2 * WIDTH)
    bent = graph.node("Erf", graph.node("Div", inner, graph.number(2**0.5)))
    half = graph.node("Mul", inner, graph.number(0.5))
    gelu = graph.node("Mul", half, graph.node("Add", bent, graph.number(1)))
    return _linear(graph, gelu, 2 * WIDTH, WIDTH)
