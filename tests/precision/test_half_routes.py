"""How each target reaches half precision, and that a runtime's own way to it is the graph's in effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_half import build as graph
from test_half import normal

from backends.onnx.precisions import ROUTES as ONNX
from backends.onnxruntime.precisions import ROUTES as ONNXRUNTIME
from backends.openvino.precisions import routes_for
from backends.tensorrt.precisions import ROUTES as TENSORRT
from backends.tvm.precisions import ROUTES as TVM
from compiler.contracts import Ready, Route, Unavailable
from compiler.ir.evaluate import Evaluator
from compiler.precision.half import to_half
from compiler.precision.recipe import NAMES, Recipe


def test_every_target_knows_every_precision() -> None:
    for routes in (ONNX, ONNXRUNTIME, TENSORRT, TVM, routes_for([])):
        assert set(routes) == set(NAMES) - {"float32"}


def test_float32_needs_no_way() -> None:
    assert Ready("1", ("cpu",)).route("float32") == Route()


def test_a_target_without_a_way_says_so() -> None:
    assert isinstance(Ready("1", ("cpu",)).route("bfloat16"), Unavailable)


@pytest.mark.parametrize("routes", [ONNXRUNTIME, TVM], ids=["onnxruntime", "tvm"])
def test_where_bfloat16_is_not_to_be_had(routes: dict[str, Route | Unavailable]) -> None:
    refused = routes["bfloat16"]
    assert isinstance(refused, Unavailable)
    assert "openvino" in refused.remedy


def test_openvino_takes_bfloat16_where_the_cpu_has_it() -> None:
    assert routes_for(["FP32", "BF16"])["bfloat16"] == Route(options={"INFERENCE_PRECISION_HINT": "bf16"})
    refused = routes_for(["FP32"])["bfloat16"]
    assert isinstance(refused, Unavailable)
    assert "avx512_bf16" in refused.reason


def test_openvino_never_takes_its_hint_for_float16_where_the_cpu_lacks_it() -> None:
    """It would compute in bfloat16 instead, without a word."""
    assert routes_for(["FP32", "BF16"])["float16"] == Route()


MLP = """(float[8,64] x) => (float[8,64] y) {
  a = Gemm(x, w, b)  g = Gelu(a)  c = Gemm(g, v, b)  s = Add(c, x)  n = LayerNormalization<axis = -1>(s, one, b)
  y = MatMul(n, w)
}"""


@pytest.mark.parametrize("written_out", [False, True], ids=["of the float32 graph", "of the graph in bfloat16"])
def test_the_hint_is_the_graph_in_effect(written_out: bool, tmp_path: Path) -> None:
    """Two honest roundings of one graph differ, and neither is further from the exact result than the other."""
    openvino = pytest.importorskip("openvino")
    import onnx_ir as ir

    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    weights = {"w": normal(64, 64) / 8, "v": normal(64, 64) / 8, "b": normal(64), "one": np.ones(64)}
    model, x = graph(MLP, **weights), normal(8, 64)
    exact = Evaluator(model, precise=True)({"x": x})["y"]
    if not written_out:
        ir.save(model, tmp_path / "model.onnx")
    to_half(model, Recipe("bfloat16"), [{"x": x}])
    if written_out:
        ir.save(model, tmp_path / "model.onnx")
    written = Evaluator(model, precise=False)({"x": x})["y"]
    route = routes_for(["BF16"])["bfloat16"]
    assert isinstance(route, Route)
    compiled = core.compile_model(core.read_model(tmp_path / "model.onnx"), "CPU", dict(route.options))
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"
    hinted = compiled([x])[0]

    def error(got: np.ndarray) -> float:
        return float(np.sqrt(np.square(got - exact).mean() / np.square(exact).mean()))

    assert 0.3 * error(written) < error(hinted) < 1.5 * error(written)
    assert error(written) > 1e-3
