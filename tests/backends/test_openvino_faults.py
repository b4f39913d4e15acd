"""Faults of OpenVINO that we work around or refuse. When one of these stops failing, its workaround can go."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from compiler.contracts import Array

F32 = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def compiled(folder: Path, body: str) -> openvino.CompiledModel:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 24]> g {body}')
    onnx.save(model, folder / "model.onnx")
    return openvino.Core().compile_model(openvino.convert_model(folder / "model.onnx"), "CPU", F32)


def run(folder: Path, body: str, *inputs: Array) -> Array:
    output: Array = compiled(folder, body)(list(inputs))[0]
    return output


def attention(query: Array, key: Array, value: Array) -> Array:
    scores = query.astype(np.float64) @ key.astype(np.float64).transpose(0, 1, 3, 2) * 0.25
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: Array = weights / weights.sum(-1, keepdims=True) @ value
    return result


def test_attention_that_first_ran_with_one_key_is_garbage(tmp_path: Path) -> None:
    body = "(float[1,4,q,16] x, float[1,4,k,16] y, float[1,4,k,16] z) => (float[1,4,q,16] o) "
    body += "{ o = Attention<scale = 0.25>(x, y, z) }"
    errors = []
    for first in (1, 2):
        model = compiled(tmp_path, body)
        for keys in (first, 16):
            rng = np.random.default_rng(0)
            data = [rng.standard_normal((1, 4, size, 16)).astype(np.float32) for size in (64, keys, keys)]
            error = np.abs(model(data)[0] - attention(*data)).max()
        errors.append(error)
    assert errors[0] > 1
    assert errors[1] < 1e-5


def test_computed_repeats_of_the_last_axes_tile_wrongly(tmp_path: Path) -> None:
    x, repeats = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5), np.array([1, 2, 2, 2])
    have = run(tmp_path, "(float[2,3,4,5] x, int64[4] r) => (float[a,b,c,d] y) { y = Tile(x, r) }", x, repeats)
    assert not np.array_equal(have, np.tile(x, repeats))


@pytest.mark.parametrize(
    ("operator", "want"),
    [("Equal(x, z)", False), ("Less(x, z)", True), ("ReduceSum<keepdims = 1>(x, axis)", 2**24 + 1)],
)
def test_integers_beyond_2_to_24_are_computed_in_float32(tmp_path: Path, operator: str, want: int) -> None:
    kind = "int64" if operator.startswith("Reduce") else "bool"
    body = f"(int64[64,1] x, int64[64,1] z) => ({kind}[64,1] y) <int64[1] axis = {{1}}> {{ y = {operator} }}"
    have = run(tmp_path, body, np.full((64, 1), 2**24 + 1), np.full((64, 1), 2**24))
    assert not (have == want).all()


def test_int64_is_held_in_int32(tmp_path: Path) -> None:
    assert run(tmp_path, "(int64[1] x) => (int64[1] y) { y = Add(x, x) }", np.array([2**40])).tolist() == [0]


def test_int8_saturates_where_it_should_wrap_around(tmp_path: Path) -> None:
    have = run(tmp_path, "(int8[1] x) => (int8[1] y) { y = Add(x, x) }", np.array([100], np.int8))
    assert have.tolist() == [127]


def test_float64_is_computed_in_float32(tmp_path: Path) -> None:
    have = run(tmp_path, "(double[1] x) => (double[1] y) { y = Mul(x, x) }", np.array([1 + 2.0**-40]))
    assert have.tolist() == [1]


def test_rounding_to_float16_in_between_is_lost(tmp_path: Path) -> None:
    body = "(float[1] x) => (float[1] y) { h = Cast<to = 10>(x)  y = Cast<to = 1>(h) }"
    assert run(tmp_path, body, np.array([1 + 2.0**-12], np.float32)).tolist() == [1 + 2.0**-12]


def test_the_largest_of_infinitely_low_numbers_is_a_number(tmp_path: Path) -> None:
    """Which is why the rows that a mask leaves empty are not found through their largest score."""
    body = "(float[1,8] x) => (float[1] y) <int64[1] axis = {1}> { y = ReduceMax<keepdims = 0>(x, axis) }"
    assert np.isfinite(run(tmp_path, body, np.full((1, 8), -np.inf, np.float32))[0])


def test_a_transform_of_1000_points_is_imprecise(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 1000, 2)).astype(np.float32)
    have = run(tmp_path, "(float[1,1000,2] x) => (float[1,1000,2] y) { y = DFT(x) }", x)
    error = have[..., 0] + 1j * have[..., 1] - np.fft.fft(x[..., 0].astype(np.float64) + 1j * x[..., 1])
    assert np.abs(error).max() > 1e-3


def test_a_one_sided_transform_has_another_shape(tmp_path: Path) -> None:
    body = "(float[2,6,3,1] x) => (float[2,4,3,2] y) <int64 axis = {1}> { y = DFT<onesided = 1>(x, , axis) }"
    assert run(tmp_path, body, np.ones((2, 6, 3, 1), np.float32)).shape != (2, 4, 3, 2)


def test_the_axis_of_a_transform_is_not_looked_at_when_it_is_an_input(tmp_path: Path) -> None:
    x, axis = np.arange(48, dtype=np.float32).reshape(2, 4, 2, 3, 1), np.array(3)
    have = run(tmp_path, "(float[2,4,2,3,1] x, int64 axis) => (float[2,4,2,3,2] y) { y = DFT(x, , axis) }", x, axis)
    assert not np.allclose(have[..., 0], np.fft.fft(x[..., 0], axis=3).real, atol=1e-3)


def test_a_remainder_is_imprecise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(1000).astype(np.float32) * np.float32(size) for size in (1000, 1))
    have = run(tmp_path, "(float[n] a, float[n] b) => (float[n] y) { y = Mod<fmod = 1>(a, b) }", a, b)
    assert (np.abs(have - np.fmod(a, b)) > 1e-3 * np.abs(b)).sum() > 10


def test_the_largest_of_a_region_is_that_of_its_places(tmp_path: Path) -> None:
    """The only place lies amid four elements; ONNX takes the largest of what each adds to it, a quarter of 8."""
    x, region = np.array([[[[8, 8], [8, 8]]]], np.float32), np.array([[0, 0, 1, 1]], np.float32)
    body = "(float[1,1,2,2] x, float[1,4] r, int64[1] b) => (float[1,1,1,1] y) "
    body += '{ y = RoiAlign<mode = "max", sampling_ratio = 1, '
    body += 'coordinate_transformation_mode = "output_half_pixel">(x, r, b) }'
    assert run(tmp_path, body, x, region, np.array([0])).item() != 2


def test_a_resize_that_smooths_has_other_weights(tmp_path: Path) -> None:
    body = "(float[1,1,2,4] x) => (float[1,1,1,2] y) <float[4] s = {1, 1, 0.6, 0.6}> "
    body += '{ y = Resize<mode = "linear", antialias = 1>(x, , s) }'
    have = run(tmp_path, body, np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4))
    assert np.abs(have.ravel() - [2.875, 4.5]).max() > 0.1  # what ONNX's own test of it gives


def test_axes_that_are_an_input_are_not_unsqueezed(tmp_path: Path) -> None:
    body = "(float[2,3] x, int64[1] axes) => (float[1,2,3] y) { y = Unsqueeze(x, axes) }"
    with pytest.raises(RuntimeError, match="Unsqueeze operation with dynamic rank"):
        compiled(tmp_path, body)


def test_a_batch_that_comes_first_in_a_gru_is_not_looked_at(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, w, r = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 1, 2), (1, 6, 2), (1, 6, 2)))
    body = "(float[3,1,2] x, float[1,6,2] w, float[1,6,2] r) => (float[3,1,1,2] y) "
    first = run(tmp_path, body + "{ y = GRU<hidden_size = 2, layout = 1>(x, w, r) }", x, w, r)
    turned = (body.replace("3,1,2] x", "1,3,2] x").replace("3,1,1,2", "1,1,3,2"), x.transpose(1, 0, 2).copy())
    second = run(tmp_path, turned[0] + "{ y = GRU<hidden_size = 2>(x, w, r) }", turned[1], w, r)
    assert not np.allclose(first, second.transpose(2, 0, 1, 3), atol=1e-3)


def test_an_output_that_is_a_constant_without_elements_loses_its_axes(tmp_path: Path) -> None:
    nothing = onnx.numpy_helper.from_array(np.zeros((1, 0, 3), np.float32), "e")
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Identity", ["x"], ["z"]), onnx.helper.make_node("Identity", ["e"], ["y"])]
    outputs = [value("z", 1, [1]), value("y", 1, [1, 0, 3])]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [1])], outputs, [nothing])
    opsets = [onnx.helper.make_opsetid("", 24)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    model = openvino.Core().compile_model(openvino.convert_model(tmp_path / "model.onnx"), "CPU", F32)
    assert model([np.ones(1, np.float32)])[1].shape != (1, 0, 3)


def test_a_pool_that_rounds_up_has_windows_behind_its_data(tmp_path: Path) -> None:
    body = "(float[1,1,2] x) => (float[1,1,1] y) { y = MaxPool<kernel_shape = [1], strides = [2], ceil_mode = 1>(x) }"
    assert run(tmp_path, body, np.ones((1, 1, 2), np.float32)).shape == (1, 1, 2)


def test_to_gather_from_nothing_crashes(tmp_path: Path) -> None:
    """In a process of its own; where the size is not fixed it does not happen."""
    body = "(float[0,3] x) => (float[0,1] y) <int64[1] i = {2}> { y = Gather<axis = 1>(x, i) }"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 24]> g {body}')
    onnx.save(model, tmp_path / "model.onnx")
    code = "import sys, numpy, openvino; model = openvino.convert_model(sys.argv[1]); "
    code += "openvino.Core().compile_model(model, 'CPU')([numpy.zeros((0, 3), numpy.float32)])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.onnx")], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGFPE


NAN = np.float32(np.nan)


@pytest.mark.parametrize(
    ("operator", "number"),
    [
        ("Relu(x)", 0),
        ("Clip(x, low, high)", 1),
        ("Max(x, low)", 1),
        ("Min(x, low)", 1),
        ("Celu(x)", 0),
        ("HardSigmoid(x)", 1),
        ("Exp(x)", np.inf),
    ],
)
def test_a_nan_becomes_a_number(tmp_path: Path, operator: str, number: float) -> None:
    body = f"(float[4] x) => (float[4] y) <float low = {{1}}, float high = {{6}}> {{ y = {operator} }}"
    np.testing.assert_array_equal(run(tmp_path, body, np.full(4, NAN)), np.full(4, number, np.float32))


@pytest.mark.parametrize("operator", ["Max(low, x)", "Min(low, x)", "Sigmoid(x)", "Tanh(x)", "Add(x, x)"])
def test_a_nan_stays_one(tmp_path: Path, operator: str) -> None:
    body = f"(float[4] x) => (float[4] y) <float low = {{1}}> {{ y = {operator} }}"
    assert np.isnan(run(tmp_path, body, np.full(4, NAN))).all()


@pytest.mark.parametrize(
    ("operator", "kept"),
    [
        ("ReduceMax(x, axes)", [3]),
        ("ReduceMin(x, axes)", [3]),
        ("GlobalMaxPool(x)", [3]),
        ("MaxPool<kernel_shape = [4]>(x)", []),
        ("ReduceMean(x, axes)", [0, 1, 2, 3]),
    ],
)
def test_the_largest_of_several_looks_past_a_nan(tmp_path: Path, operator: str, kept: list[int]) -> None:
    """All but the last of a row."""
    model = compiled(tmp_path, f"(float[1,1,4] x) => (float[1,1,1] y) <int64[1] axes = {{2}}> {{ y = {operator} }}")
    places = [np.where(np.arange(4) == place, NAN, np.float32(1)).reshape(1, 1, 4) for place in range(4)]
    assert [place for place, x in enumerate(places) if np.isnan(model([x])[0]).all()] == kept


def test_bfloat16_is_the_default_where_the_cpu_has_it(tmp_path: Path) -> None:
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes no bfloat16")
    assert core.get_property("CPU", "INFERENCE_PRECISION_HINT") == openvino.Type.bf16
