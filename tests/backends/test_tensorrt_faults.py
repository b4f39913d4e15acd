"""What TensorRT-RTX is known to do wrong or not at all, each shown without plumbline.

One that passes after an update of the runtime may go from docs/backends/tensorrt.md, with what works around it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import onnx
import onnx.parser
import pytest

from backends.tensorrt.gpu import gpus

without_gpu = pytest.mark.skipif(bool(gpus()), reason="about a machine without a GPU")

BUILD = """\
import sys
import onnx.parser
import tensorrt_rtx as trt


def build(text, capability="SM89", decomposable=True, flag=None):
    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    header = '<ir_version: 12, opset_import: ["": 24]> g '
    if not parser.parse(onnx.parser.parse_model(header + text).SerializeToString()):
        return "not parsed: " + parser.get_error(0).desc()
    for layer in network:
        if decomposable and layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    if flag:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    return "built" if builder.build_serialized_network(network, config) else "not built"
"""
QUERY_KEY = "(float[1,4,32,16] q, float[1,4,32,16] k) => (float[1,4,32,16] y) "
MATMUL = "(float[4,8] x, float[8,8] w) => (float[4,8] y) { y = MatMul(x, w) }"


def build(text: str, **arguments: Any) -> str:
    scope: dict[str, Any] = {}
    exec(BUILD, scope)
    return str(scope["build"](text, **arguments))


def test_attention_has_kernels_of_its_own_in_half_precision_only() -> None:
    text = QUERY_KEY + "{ y = Attention(q, k, k) }"
    assert build(text, decomposable=False) == "not built"
    assert build(text) == "built"


def test_the_builder_crashes_where_the_query_is_the_key() -> None:
    code = BUILD + f"\nprint(build({QUERY_KEY + '{ y = Attention(q, q, k) }'!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (-11, "")


def test_turing_has_no_products_of_float32_matrices() -> None:
    assert build(MATMUL, capability="SM75") == "not built"
    assert build(MATMUL, capability="SM80") == "built"


def test_float64_becomes_float32_without_a_word() -> None:
    import tensorrt_rtx as trt

    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    text = '<ir_version: 10, opset_import: ["": 21]> g (double[2] x) => (double[2] y) { y = Mul(x, x) }'
    assert parser.parse(onnx.parser.parse_model(text).SerializeToString())
    assert network.get_input(0).dtype == trt.float32


def test_uint8_comes_in_and_goes_out_but_is_not_moved() -> None:
    assert build("(uint8[2,4] x) => (float[2,4] y) { y = Cast<to = 1>(x) }") == "built"
    assert build("(uint8[2,4] x) => (uint8[4,2] y) { y = Transpose(x) }").startswith("not parsed")


def test_a_quantized_uint8_is_an_int8() -> None:
    import tensorrt_rtx as trt

    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    text = '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (uint8[2] y) '
    text += "<float s = {0.1}, uint8 z = {0}> { y = QuantizeLinear(x, s, z) }"
    assert parser.parse(onnx.parser.parse_model(text).SerializeToString())
    assert network.get_output(0).dtype == trt.int8


def test_a_constant_of_int8_is_for_dequantization_only() -> None:
    text = "(float[2] x) => (float[2] y) <int8[2] w = {1, 2}> { f = Cast<to = 1>(w)  y = Mul(x, f) }"
    assert build(text) == "not built"


@pytest.mark.parametrize("operator", ["ScatterND", "ScatterElements"])
def test_a_scatter_does_not_reduce(operator: str) -> None:
    places = "int64[4,1]" if operator == "ScatterND" else "int64[4,3]"
    text = f"(float[5,3] d, {places} i, float[4,3] u) => (float[5,3] y) "
    text += f'{{ y = {operator}<reduction = "add">(d, i, u) }}'
    assert "reduction" in build(text)


def test_boxes_are_not_suppressed() -> None:
    text = "(float[1,6,4] boxes, float[1,1,6] scores) => (int64[n,3] y) "
    text += "<int64[1] most = {3}, float[1] overlap = {0.5}> { y = NonMaxSuppression(boxes, scores, most, overlap) }"
    assert build(text) == "not built"


def test_what_is_not_zero_is_not_found() -> None:
    assert build("(float[4] x) => (int64[1,n] y) { y = NonZero(x) }").startswith("not parsed")


@without_gpu
@pytest.mark.parametrize("flag", ["STRIP_PLAN", "REFIT"])
def test_weights_that_can_be_exchanged_need_a_gpu_at_build_time(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    weights = ", ".join(["0.5"] * 64)
    text = f"(float[4,8] x) => (float[4,8] y) <float[8,8] w = {{{weights}}}> {{ y = MatMul(x, w) }}"
    assert build(text, flag=flag) == "not built"
    assert "CUDA_SUCCESS" in "".join(capfd.readouterr())


def test_a_version_compatible_engine_asks_for_a_library_that_the_package_lacks() -> None:
    assert build(MATMUL, flag="VERSION_COMPATIBLE") == "not built"
