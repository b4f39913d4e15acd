"""Faults of ONNX Runtime that we work around. When one of these stops failing, its workaround can go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import compiler
from compiler.contracts import Array


def session(body: str, level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 18]> g {body}')
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


POOL = "y = MaxPool<kernel_shape = [3,3], strides = [2,2]>(t)"
PLAIN = f"(float[1,1,4,4] x) => (float[1,1,2,2] y) <int64[8] p = {{0,0,0,0,0,0,1,1}}> {{ t = Pad(x, p) {POOL} }}"
NAMED = (
    "(float[1,1,4,4] x) => (float[1,1,2,2] y) <int64[8] p = {0,0,0,0,0,0,1,1}, int64[4] a = {0,1,2,3}, float z = {0}> "
    f"{{ t = Pad(x, p, z, a) {POOL} }}"
)
BELOW_ZERO = {"x": -np.ones((1, 1, 4, 4), np.float32)}
RIGHT = [-1, 0, 0, 0]
LEVELS = onnxruntime.GraphOptimizationLevel


@pytest.mark.parametrize(
    ("graph", "level", "answer"),
    [
        (PLAIN, LEVELS.ORT_DISABLE_ALL, RIGHT),
        (PLAIN, LEVELS.ORT_ENABLE_ALL, [-1, -1, -1, -1]),
        (NAMED, LEVELS.ORT_ENABLE_ALL, RIGHT),
    ],
    ids=["as written", "merged into the pool, and wrong", "axes named, not merged"],
)
def test_zero_padding_before_a_max_pool(
    graph: str, level: onnxruntime.GraphOptimizationLevel, answer: list[int]
) -> None:
    assert session(graph, level).run(None, BELOW_ZERO)[0].ravel().tolist() == answer


class PaddedPool(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.max_pool2d(torch.nn.functional.pad(-x.abs(), (0, 1, 0, 1)), 3, 2)


def test_a_padded_pool_compiles_to_the_right_numbers(tmp_path: Path) -> None:
    result = compiler.compile(PaddedPool(), ["x:float32[batch=1..4,2,8,8]"], target="onnxruntime", output=tmp_path)
    assert result.passed, result.verdict


class Messages(torch.nn.Module):
    def forward(self, x: torch.Tensor, to: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
        return x.index_add(0, to, message)


def test_adding_many_rows_to_few_is_right_on_several_threads(tmp_path: Path) -> None:
    """ScatterND with a reduction races there; the artifact must not hold one."""
    specs = ["x:float32[64,256]", "to:int64[4096]", "message:float32[4096,256]"]
    result = compiler.compile(Messages(), specs, target="onnxruntime", output=tmp_path)
    assert result.passed, result.verdict
    rng = np.random.default_rng(0)
    inputs = {
        "x": np.zeros((64, 256), np.float32),
        "to": rng.integers(0, 64, 4096),
        "message": rng.integers(-8, 8, (4096, 256)).astype(np.float32),  # small integers add up exactly
    }
    exact = inputs["x"].copy()
    np.add.at(exact, inputs["to"], inputs["message"])
    with result.session(threads=4) as run:
        for _ in range(10):
            np.testing.assert_array_equal(run(inputs)["output"], exact)


NAN = np.float32(np.nan)


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
def test_the_largest_of_a_row_looks_past_a_nan_that_is_not_its_first(operator: str) -> None:
    body = f"(float[1,5] x) => (float[1,1] y) <int64[1] axes = {{1}}> {{ y = {operator}(x, axes) }}"
    model = session(body, LEVELS.ORT_ENABLE_ALL)
    rows = [np.where(np.arange(5) == place, NAN, np.float32(1)).reshape(1, 5) for place in range(5)]
    assert [place for place, x in enumerate(rows) if np.isnan(model.run(None, {"x": x})[0]).all()] == [0]


@pytest.mark.parametrize("operator", ["MaxPool<kernel_shape = [4]>", "GlobalMaxPool"])
def test_a_max_pool_looks_past_a_nan_that_is_not_its_last(operator: str) -> None:
    model = session(f"(float[1,1,4] x) => (float[1,1,1] y) {{ y = {operator}(x) }}", LEVELS.ORT_ENABLE_ALL)
    rows = [np.where(np.arange(4) == place, NAN, np.float32(1)).reshape(1, 1, 4) for place in range(4)]
    assert [place for place, x in enumerate(rows) if np.isnan(model.run(None, {"x": x})[0]).all()] == [3]


def _after_a_nan(operator: str, gates: int, bias: bool) -> Array:
    """The state after one step over data that is all NaN; before it is 0.25."""
    size = 2 * gates * 3
    weights = f"float[1,{3 * gates},4] w, float[1,{3 * gates},3] r, float[1,{size}] b, float[1,1,3] h"
    call = f"{operator}<hidden_size = 3>(x, w, r, {'b' if bias else ''}, , h)"
    body = f"(float[1,1,4] x, {weights}) => (float[1,1,1,3] y) {{ y = {call} }}"
    inputs = {
        "x": np.full((1, 1, 4), NAN),
        "w": np.ones((1, 3 * gates, 4), np.float32),
        "r": np.ones((1, 3 * gates, 3), np.float32),
        "b": np.zeros((1, size), np.float32),
        "h": np.full((1, 1, 3), 0.25, np.float32),
    }
    model = session(body, LEVELS.ORT_ENABLE_ALL)
    taken = {value.name for value in model.get_inputs()}
    result: Array = model.run(None, {name: array for name, array in inputs.items() if name in taken})[0]
    return result.ravel()


@pytest.mark.parametrize(("operator", "gates", "state"), [("GRU", 3, 0.25), ("LSTM", 4, np.tanh(1))])
def test_a_gru_and_an_lstm_with_a_bias_make_a_number_of_a_nan(operator: str, gates: int, state: float) -> None:
    """Every gate is open: the GRU stays what it was, and the LSTM adds 1 to its cell."""
    np.testing.assert_allclose(_after_a_nan(operator, gates, bias=True), np.full(3, state), rtol=1e-5)
    assert np.isnan(_after_a_nan(operator, gates, bias=False)).all()


def test_an_rnn_keeps_a_nan() -> None:
    assert np.isnan(_after_a_nan("RNN", 1, bias=True)).all()


def test_a_sum_of_nothing_keeps_the_axis_that_it_takes_away() -> None:
    body = "(float[2,0] x) => (float[?] y) <int64[1] a = {-1}> { y = ReduceSum<keepdims = 0>(x, a) }"
    result = session(body, LEVELS.ORT_DISABLE_ALL).run(None, {"x": np.zeros((2, 0), np.float32)})[0]
    assert result.shape == (2, 0)  # and not (2,)
