"""ONNX files with and without external data."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import numpy_helper

from compiler.errors import CompileError
from compiler.frontend.loaders.onnx import load_onnx


def test_onnx_with_external_data(tmp_path, monkeypatch):
    weights = torch.arange(6.0).reshape(2, 3).numpy()
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21, "local" : 1]>'
        " g (float[2,3] x) => (float[2,3] z) { y = Add(x, w)  z = local.f(y) }"
        ' <domain: "local", opset_import: ["" : 21]> f (a) => (b) { c = Constant<value = float {1}>()  b = Add(a, c) }'
    )
    inner = model.functions[0].node[0].attribute[0].t
    for name, array in (("w", weights), ("c", weights[:1, :1].reshape(()))):
        tensor = model.graph.initializer.add() if name == "w" else inner
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        (tmp_path / name).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
    (tmp_path / "model.bin").write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    loaded = load_onnx("model.bin")
    monkeypatch.chdir("/")
    assert (loaded.graph.initializers["w"].const_value.numpy() == weights).all()
    function = next(iter(loaded.functions.values()))
    assert function.graph.node(0).attributes["value"].value.numpy() == 0


def test_onnx_that_makes_no_sense(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    model.graph.input[0].type.tensor_type.elem_type = 77
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CompileError) as caught:
        load_onnx(tmp_path / "model.onnx")
    assert caught.value.code == "unreadable-model"
