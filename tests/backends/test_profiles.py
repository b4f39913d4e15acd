"""What each runtime's own profiler tells, led back to the nodes of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tensorrt_fakes import FakeDriver
from test_tensorrt_session import doubling, rows, session

import compiler
from backends import registry
from backends.onnxruntime.profile import stands_for
from backends.tensorrt import profile as tensorrt
from backends.tvm import named
from backends.tvm.profile import words
from compiler import bundle as bundles
from compiler.bench import work
from compiler.bench.profile import Step, steps
from compiler.contracts import Profiling
from compiler.errors import UnavailableError

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.head = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))

    def forward(self, x):
        return self.head(torch.relu(self.stem(x)).mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net().eval()
"""
MODULES = {"stem", "head.0", "head.2"}


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "tvm"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    folder = tmp_path_factory.mktemp("profile")
    (folder / "net.py").write_text(NET)
    place = compiler.compile(
        f"{folder / 'net.py'}:build",
        ["x:float32[batch=1..4,3,16,16]"],
        target=request.param,
        output=folder,
        verify=False,
    ).folder
    artifact = bundles.read(place).artifact
    backend = registry.get(request.param)
    assert isinstance(backend, Profiling)
    inputs = {"x": np.ones((2, 3, 16, 16), np.float32)}
    times = backend.profile(artifact, place, {"threads": 1}, inputs, 5)
    return steps(times, work.read(place, {"batch": 2}))


def test_every_product_is_found_with_its_module_and_its_work(found: list[Step]) -> None:
    products = {step.module: step for step in found if step.flops}
    assert set(products) == MODULES
    assert products["stem"].operator == "Conv"
    assert products["stem"].flops == 2 * 2 * 8 * 16 * 16 * 3 * 9
    for name, flops in (("head.0", 2 * 2 * 8 * 16), ("head.2", 2 * 2 * 16 * 4)):
        assert products[name].operator in ("Gemm", "MatMul")
        assert products[name].flops == flops


def test_times_are_those_of_one_call(found: list[Step]) -> None:
    assert all(step.seconds >= 0 for step in found)
    assert 0 < sum(step.seconds for step in found) < 1


# -- ONNX Runtime ------------------------------------------------------------------------------------------------


def graph(nodes: str) -> onnx.GraphProto:
    text = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1, "com.microsoft.nchwc" : 1]>'
    model = onnx.parser.parse_model(f"{text} g (float[n] x) => (float[n] y) {{ {nodes} }}")
    for node in model.graph.node:
        node.name = node.name or f"node_{node.output[0]}"
    return model.graph


def test_a_fused_node_stands_for_what_lies_between_its_values() -> None:
    written = graph("a = Neg(x) b = Exp(a) c = Relu(b) y = Add(c, a)")
    run = graph("a = Neg(x) y = com.microsoft.Fused(a)")
    told = stands_for(run, written)
    assert told["node_a"] == ["node_a"]
    assert set(told["node_y"]) == {"node_b", "node_c", "node_y"}


def test_a_convolution_in_a_layout_of_its_own_keeps_its_activation() -> None:
    written = graph("a = Neg(x) b = Relu(a) y = Exp(b)")
    run = graph("r = com.microsoft.nchwc.Conv(x) b = com.microsoft.nchwc.ReorderOutput(r) y = Exp(b)")
    run.node[0].name = "a_nchwc"  # the activation came later, and did not change the name
    told = stands_for(run, written)
    assert told["a_nchwc"] == ["node_a", "node_b"]
    assert told["node_b"] == []
    assert told["node_y"] == ["node_y"]


def test_a_sum_belongs_to_the_later_of_two_convolutions() -> None:
    written = graph("a = Neg(x) b = Exp(x) s = Add(a, b) r = Relu(s) t = Neg(r) y = Add(r, t)")
    run = graph("p = com.microsoft.nchwc.Conv(x) q = com.microsoft.nchwc.Conv(x, p) t = Neg(q) y = Add(q, t)")
    run.node[0].name, run.node[1].name = "a_nchwc", "b_nchwc"
    told = stands_for(run, written)
    assert told["a_nchwc"] == ["node_a"]
    assert told["b_nchwc"] == ["node_b", "node_s", "node_r"]
    assert told["node_t"] == ["node_t"]


# -- TVM ---------------------------------------------------------------------------------------------------------


def test_a_kernel_is_called_by_its_operators() -> None:
    assert words("fused_conv3_add2_relu") == "conv_add_relu"
    assert words("layer_norm1") == "layer_norm"


def test_weights_are_known_again_in_another_layout() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((4, 6)).astype("float32"), rng.standard_normal((6, 4)).astype("float32")
    model = ir.from_onnx_text('<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y) { y = Neg(x) }')
    for name, array in (
        ("one", one),
        ("two", two),
        ("zero", np.zeros(4, "float32")),
        ("naught", np.zeros(6, "float32")),
    ):
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        model.graph.register_initializer(value)
    packed = np.zeros((3, 8, 2), "float32")
    packed[:, :4] = one.T.reshape(3, 2, 4).transpose(0, 2, 1)
    constants = [packed, two.T.copy(), np.zeros(4, "float32"), 2 * one, np.arange(3)]
    assert named.names(model, constants) == ["one", "two", "", "", ""]


# -- TensorRT, on an engine that lives in host memory ------------------------------------------------------------


def test_layers_of_an_engine(tmp_path: Path) -> None:
    trt = doubling()
    trt.layers = {
        "node_a + node_b": 0.25,
        "{ForeignNode[node_c...node_d]}": 0.5,
        "Reformatting CopyNode for Input 0": 1.0,
    }
    with session(tmp_path, trt, FakeDriver()) as engine:
        told = tensorrt.times(engine, {"x": rows(2)}, calls=3)
    assert [(time.nodes, time.seconds) for time in told[:2]] == [
        (("node_a", "node_b"), pytest.approx(0.25e-3)),
        (("node_c", "node_d"), pytest.approx(0.5e-3)),
    ]
    assert told[2].operator == "Reformat"


def test_without_a_gpu_there_is_nothing_to_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.tensorrt.session.gpus", lambda: ())
    artifact: Any = None
    with pytest.raises(UnavailableError, match="GPU"):
        registry.get("tensorrt").profile(artifact, tmp_path, {}, {}, 3)  # type: ignore[attr-defined]
