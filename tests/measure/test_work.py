"""How much work a node is, from its shapes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest

from compiler.bench.work import Graph, Node, Tensor, read
from compiler.graph_files import NODES
from compiler.ir import nodes as written


def one(operator: str, given: list[tuple[int, ...]], made: tuple[int, ...], equation: str = "") -> tuple[Graph, Node]:
    names = tuple(f"in{place}" for place in range(len(given)))
    node = Node("n", operator, "m", names, ("out",), equation)
    tensors = {name: Tensor("float32", shape) for name, shape in zip(names, given, strict=True)}
    return Graph([node], {**tensors, "out": Tensor("float32", made)}), node


@pytest.mark.parametrize(
    ("operator", "given", "made", "flops"),
    [
        ("MatMul", [(2, 3, 5), (5, 7)], (2, 3, 7), 2 * 2 * 3 * 7 * 5),
        ("Gemm", [(5, 3), (5, 7), (7,)], (3, 7), 2 * 3 * 7 * 5),  # transA
        ("Conv", [(1, 4, 8, 8), (6, 2, 3, 3)], (1, 6, 8, 8), 2 * 6 * 64 * 2 * 9),  # two groups
        ("ConvTranspose", [(1, 4, 8, 8), (4, 6, 2, 2)], (1, 6, 16, 16), 2 * 4 * 64 * 6 * 4),
        ("Attention", [(1, 5, 8), (1, 9, 8), (1, 9, 8)], (1, 5, 8), 2 * 2 * 5 * 9 * 8),
        ("LSTM", [(7, 2, 3), (1, 16, 3), (1, 16, 4)], (7, 1, 2, 4), 2 * 7 * 2 * 16 * (3 + 4)),
        ("QLinearConv", [(1, 4, 8, 8), (), (), (6, 4, 3, 3)], (1, 6, 8, 8), 2 * 6 * 64 * 4 * 9),
        ("Relu", [(2, 3)], (2, 3), 0),
    ],
)
def test_products(operator: str, given: list[tuple[int, ...]], made: tuple[int, ...], flops: int) -> None:
    graph, node = one(operator, given, made)
    assert graph.work([node]).flops == flops


def test_an_einsum_multiplies_over_all_of_its_letters() -> None:
    graph, node = one("Einsum", [(2, 3, 5), (2, 5, 7)], (2, 3, 7), "bij, bjk -> bik")
    assert graph.flops(node) == 2 * 2 * 3 * 5 * 7


def test_what_passes_between_fused_nodes_never_sees_memory() -> None:
    nodes = [Node("a", "Conv", "", ("x", "w"), ("t",)), Node("b", "Relu", "", ("t",), ("y",))]
    tensors = {
        "x": Tensor("float32", (1, 1, 4, 4)),
        "w": Tensor("float32", (1, 1, 1, 1)),
        "t": Tensor("float32", (1, 1, 4, 4)),
        "y": Tensor("float32", (1, 1, 4, 4)),
    }
    graph = Graph(nodes, tensors)
    assert graph.work(nodes).bytes == 4 * (16 + 1 + 16)
    assert graph.work(nodes[:1]).bytes == 4 * (16 + 1 + 16)


def test_a_gather_reads_as_much_as_it_gives() -> None:
    graph, node = one("Gather", [(1000, 8), (3,)], (3, 8))
    assert graph.work([node]).bytes == 2 * 4 * 24


def test_an_unknown_shape_is_unknown_work() -> None:
    node = Node("n", "MatMul", "", ("x", "w"), ("y",))
    graph = Graph([node], {"w": Tensor("float32", (2, 2))})
    assert graph.work([node]).flops is None
    assert graph.work([node]).bytes is None


TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 4] x) => (float[n, 3] y)
<float[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}>
{ t = MatMul(x, w)  y = Relu(t) }
"""


def model() -> ir.Model:
    made = ir.from_onnx_text(TEXT)
    for number, node in enumerate(made.graph):
        node.name = f"node{number}"
    return made


def test_what_is_written_is_read_at_any_size(tmp_path: Path) -> None:
    made = model()
    for node in made.graph:
        node.metadata_props["plumbline.origins"] = json.dumps([{"module": "layers.0"}])
    written.write_nodes(made, tmp_path / NODES)
    for size in (2, 5):
        graph = read(tmp_path, {"n": size})
        assert graph is not None
        product = graph.by_name["node0"]
        assert product is graph.by_name["w"]
        assert (product.operator, product.module) == ("MatMul", "layers.0")
        assert graph.flops(product) == 2 * size * 3 * 4  # its own shape came from shape inference


def test_without_provenance_no_module_is_written(tmp_path: Path) -> None:
    made = model()
    for node in made.graph:
        node.metadata_props["plumbline.origins"] = json.dumps([{"module": "secret"}])
    written.write_nodes(made, tmp_path / NODES, modules=False)
    assert "secret" not in (tmp_path / NODES).read_text()


def test_nothing_is_written_of_a_huge_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "MOST_NODES", 1)
    written.write_nodes(model(), tmp_path / NODES)
    assert read(tmp_path, {"n": 2}) is None


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        ("2*s", 12),
        ("floor((s + 1)/2)", 3),
        ("max(s, 9) - 1", 8),
        ("s//0", None),
        ("__import__('os')", None),
        ("other", None),
    ],
)
def test_sizes_are_arithmetic_and_nothing_else(tmp_path: Path, dim: str, size: int | None) -> None:
    table = {
        "schema": "plumbline-nodes/1",
        "modules": [],
        "nodes": [["n", "MatMul", -1, ["x", "w"], ["y"]]],
        "values": {"x": ["float32", [1, 1]], "w": ["float32", [1, 1]], "y": ["float32", [dim]]},
    }
    (tmp_path / NODES).write_text(json.dumps(table))
    graph = read(tmp_path, {"s": 6})
    assert graph is not None
    assert graph.flops(graph.nodes[0]) == (2 * size if size is not None else None)
