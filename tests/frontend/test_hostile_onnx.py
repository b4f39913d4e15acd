"""ONNX models that point out of their folder or never end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile_files import refused
from onnx import TensorProto, helper, numpy_helper

from compiler.frontend.detect import Format, detect
from compiler.frontend.hostile import onnx as hostile_onnx
from compiler.frontend.hostile.onnx import check_onnx, external_files


def external(location: str, dims: tuple[int, ...] = (4,), **entries: object) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model_with(*nodes: Any, initializers: Any = (), sparse: Any = (), functions: Any = ()) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [], [], initializer=list(initializers), sparse_initializer=list(sparse))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions))


def written_onnx(folder: Path, model: onnx.ModelProto) -> Path:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def constant(tensor: TensorProto) -> Any:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def sparse_of(tensor: TensorProto) -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.arange(4), "i")
    return onnx.SparseTensorProto(values=tensor, indices=indices, dims=[9])


def nested(tensor: TensorProto, depth: int) -> Any:
    node = constant(tensor)
    for _ in range(depth):
        body = helper.make_graph([node], "body", [], [])
        node = helper.make_node("If", ["c"], [], then_branch=body, else_branch=body)
    return node


def function_of(name: str, *nodes: Any) -> onnx.FunctionProto:
    return helper.make_function("local", name, [], [], list(nodes), [helper.make_opsetid("", 21)])


HIDING_PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": lambda tensor: model_with(initializers=[tensor]),
    "sparse initializer": lambda tensor: model_with(sparse=[sparse_of(tensor)]),
    "attribute": lambda tensor: model_with(constant(tensor)),
    "attribute list": lambda tensor: model_with(helper.make_node("Custom", [], [], values=[tensor, tensor])),
    "sparse attribute": lambda tensor: model_with(
        helper.make_node("Constant", [], ["c"], sparse_value=sparse_of(tensor))
    ),
    "subgraph": lambda tensor: model_with(nested(tensor, 2)),
    "function": lambda tensor: model_with(functions=[function_of("f", constant(tensor))]),
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_external_data_outside_the_folder_is_found_wherever_it_hides(place, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    model = HIDING_PLACES[place](external("../secret"))
    refused(check_onnx, written_onnx(folder, model), "outside the model's folder")


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_external_data_inside_the_folder_passes_wherever_it_is(place, tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    path = written_onnx(tmp_path, HIDING_PLACES[place](external("weights.bin", offset=0, length=16)))
    assert check_onnx(path).ir_version
    assert external_files(path) == [tmp_path / "weights.bin"]


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../x", "a/../../x", "C:\\x", "\\\\host\\x", "C:x", "a\\..\\x", "a\0b", ""]
)
def test_locations_outside_the_folder(location, tmp_path):
    refused(check_onnx, written_onnx(tmp_path, model_with(initializers=[external(location)])))


def test_links_are_not_followed(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(bytes(16))
    (folder / "file").symlink_to(tmp_path / "outside" / "secret")
    (folder / "sub").symlink_to(tmp_path / "outside")
    (folder / "hard").hardlink_to(tmp_path / "outside" / "secret")
    for location in ("file", "sub/secret", "hard"):
        refused(check_onnx, written_onnx(folder, model_with(initializers=[external(location)])), "link")


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"offset": 8, "length": 16}, "truncated-file"),
        ({"offset": 32}, "truncated-file"),
        ({"length": 17}, "truncated-file"),
        ({"offset": -4}, "unsafe-file"),
        ({"length": -1}, "unsafe-file"),
        ({"length": 8}, "unsafe-file"),
        ({"offset": 4}, "unsafe-file"),
        ({"offset": "0x4"}, "unsafe-file"),
        ({"offset": "9" * 30}, "unsafe-file"),
        ({"length": ""}, "unsafe-file"),
    ],
)
def test_offsets_and_lengths_stay_in_the_file(entries, code, tmp_path):
    (tmp_path / "w").write_bytes(bytes(16))
    refused(check_onnx, written_onnx(tmp_path, model_with(initializers=[external("w", **entries)])), code=code)


def test_other_broken_external_tensors(tmp_path):
    (tmp_path / "w").write_bytes(bytes(16))
    twice = external("w")
    twice.external_data.add(key="location", value="other")
    text = external("w")
    text.data_type = TensorProto.STRING
    for tensor in (twice, text, external("w", dims=(-4,)), external("w", dims=(2**40, 2**40))):
        refused(check_onnx, written_onnx(tmp_path, model_with(initializers=[tensor])))
    missing = refused(check_onnx, written_onnx(tmp_path, model_with(initializers=[external("x")])), code="missing-file")
    assert "'x'" in (missing.why or "")


def test_small_elements_are_packed(tmp_path):
    (tmp_path / "w").write_bytes(bytes(4))
    tensor = external("w", dims=(7,))
    tensor.data_type = TensorProto.INT4
    check_onnx(written_onnx(tmp_path, model_with(initializers=[tensor])))


def test_deeply_nested_graphs(tmp_path):
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    # `nested` doubles with every level, so the chain is built here.
    node = constant(tensor)
    for _ in range(hostile_onnx.MAX_DEPTH + 1):
        node = helper.make_node("If", ["c"], [], then_branch=helper.make_graph([node], "body", [], []))
    refused(check_onnx, written_onnx(tmp_path, model_with(node)), "nested")


def test_more_nesting_than_the_parser_takes(tmp_path):
    def field(number: int, data: bytes) -> bytes:
        length, size = b"", len(data)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    graph = b""
    for _ in range(2000):
        graph = field(1, field(5, field(6, graph)))  # graph.node, node.attribute, attribute.g
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a" + field(7, graph) + field(8, b"\x10\x15"))
    assert detect(tmp_path / "model.onnx") is Format.ONNX
    refused(check_onnx, tmp_path / "model.onnx", code="truncated-file")


def test_too_many_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr(hostile_onnx, "MAX_NODES", 10)
    nodes = [helper.make_node("Relu", ["x"], [f"y{index}"]) for index in range(11)]
    refused(check_onnx, written_onnx(tmp_path, model_with(*nodes)), "nodes")


def test_functions_that_expand_without_end(tmp_path):
    def call(name: str) -> Any:
        return helper.make_node(name, [], [], domain="local")

    refused(
        check_onnx, written_onnx(tmp_path, model_with(call("f"), functions=[function_of("f", call("f"))])), "itself"
    )
    laughs = [function_of(f"f{level}", *(call(f"f{level + 1}") for _ in range(10))) for level in range(10)]
    model = model_with(call("f0"), functions=[*laughs, function_of("f10", helper.make_node("Relu", ["x"], ["y"]))])
    refused(check_onnx, written_onnx(tmp_path, model), "expand")


def test_onnx_that_is_too_large_or_broken(tmp_path, monkeypatch):
    path = written_onnx(tmp_path, model_with())
    path.write_bytes(path.read_bytes()[:-3])
    refused(check_onnx, path, code="truncated-file")
    monkeypatch.setattr(hostile_onnx, "MAX_MODEL", 10)
    refused(check_onnx, path, code="model-too-large")
