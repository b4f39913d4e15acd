"""The judge at the edges: NaN, infinities, overflow, ties, empty tensors, indices out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import compute, run

from compiler.errors import CompileError

NAN, INF = np.nan, np.inf
SPECIAL = np.array([NAN, INF, -INF, -1.0, 0.0, 2.0], np.float32)


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "want"),
    [
        ("Relu", [SPECIAL], {}, [NAN, INF, 0, 0, 0, 2]),
        ("Clip", [SPECIAL, np.float32(-1), np.float32(1)], {}, [NAN, 1, -1, -1, 0, 1]),
        ("Clip", [f32(0.0, 5.0), np.float32(3), np.float32(1)], {}, [1, 1]),
        ("Max", [SPECIAL, f32(0, 0, 0, NAN, 0, 0)], {}, [NAN, INF, 0, NAN, 0, 2]),
        ("Min", [SPECIAL, f32(0, 0, 0, NAN, 0, 0)], {}, [NAN, 0, -INF, NAN, 0, 0]),
        ("Sigmoid", [SPECIAL[:3]], {}, [NAN, 1, 0]),
        ("Softplus", [SPECIAL[:3]], {}, [NAN, INF, 0]),
        ("Softplus", [f32(-50.0, 200.0)], {}, [np.exp(-50.0), 200.0]),
        ("Erf", [SPECIAL[:3]], {}, [NAN, 1, -1]),
        ("LeakyRelu", [SPECIAL[:3]], {"alpha": 0.5}, [NAN, INF, -INF]),
        ("Elu", [SPECIAL[:3]], {"alpha": 1.0}, [NAN, INF, -1]),
        ("ThresholdedRelu", [SPECIAL[:3]], {"alpha": 1.0}, [NAN, INF, 0]),
        ("HardSigmoid", [SPECIAL[:3]], {}, [NAN, 1, 0]),
        ("Shrink", [SPECIAL[:3]], {"lambd": 0.5}, [NAN, INF, -INF]),
        ("Sign", [SPECIAL], {}, [NAN, 1, -1, -1, 0, 1]),
        ("Round", [f32(0.5, 1.5, 2.5, -0.5, -1.5)], {}, [0, 2, 2, 0, -2]),
        ("ReduceMax", [SPECIAL], {"keepdims": 0}, NAN),
        ("ReduceMin", [SPECIAL], {"keepdims": 0}, NAN),
        ("ReduceSum", [f32(INF, -INF)], {"keepdims": 0}, NAN),
        ("ReduceLogSumExp", [f32(-INF, -INF)], {"keepdims": 0}, -INF),
        ("ReduceLogSumExp", [f32(INF, 0)], {"keepdims": 0}, INF),
        ("ReduceLogSumExp", [f32(1000, 1000)], {"keepdims": 0}, 1000 + np.log(2)),
        ("ReduceMax", [np.zeros((0,), np.float32)], {"keepdims": 0}, -INF),
        ("ReduceMin", [np.zeros((0,), np.float32)], {"keepdims": 0}, INF),
        ("ReduceProd", [np.zeros((0,), np.float32)], {"keepdims": 0}, 1),
        ("ReduceMean", [np.zeros((0,), np.float32)], {"keepdims": 0}, NAN),
        ("Softmax", [f32([-INF, -INF], [0, -INF])], {}, [[NAN, NAN], [1, 0]]),
        ("LogSoftmax", [f32(0, -INF)], {}, [0, -INF]),
        ("Pow", [f32(-8, 0, 0), f32(1 / 3, -1, 0)], {}, [NAN, INF, 1]),
        ("Mod", [f32(-5.5, 5.5), f32(2, -2)], {"fmod": 1}, [-1.5, 1.5]),
        ("MatMul", [f32([0, 1]), f32([NAN], [1])], {}, [[NAN]]),
        ("CumSum", [f32(1, NAN, 1), np.int64(0)], {}, [1, NAN, NAN]),
    ],
)
def test_floats(op_type: str, inputs: list[Any], attributes: dict[str, Any], want: Any, precise: bool) -> None:
    have = compute(op_type, *inputs, precise=precise, **attributes)
    assert have.dtype == (np.float64 if precise else np.float32)
    np.testing.assert_allclose(have, np.asarray(want), rtol=1e-6)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"])
def test_a_nan_goes_through_every_pool(op_type: str) -> None:
    image = np.zeros((1, 1, 3, 3), np.float32)
    image[0, 0, 1, 1] = NAN
    attributes = {} if op_type.startswith("Global") else {"kernel_shape": [2, 2]}
    assert np.isnan(compute(op_type, image, **attributes)).all()


def test_the_index_of_the_largest() -> None:
    image = f32(*range(16)).reshape(1, 1, 4, 4)
    tied = np.ones((1, 1, 2, 2), np.float32)
    _, indices = compute("MaxPool", image, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    assert indices.tolist() == [[[[5, 7], [13, 15]]]]
    assert compute("MaxPool", tied, outputs=2, kernel_shape=[2, 2])[1].tolist() == [[[[0]]]]
    column_major = compute("MaxPool", image, outputs=2, kernel_shape=[2, 2], strides=[2, 2], storage_order=1)[1]
    assert column_major.tolist() == [[[[5, 13], [7, 15]]]]


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "want"),
    [
        ("Add", [np.array([2**31 - 1], np.int32), np.array([1], np.int32)], {}, [-(2**31)]),
        ("Add", [np.int64(2**63 - 1), np.int64(1)], {}, -(2**63)),
        ("Add", [np.array([2**40], np.int64), np.array([2**40], np.int64)], {}, [2**41]),
        ("Mul", [np.array([200], np.uint8), np.array([2], np.uint8)], {}, [144]),
        ("ReduceSum", [np.array([2**31 - 1, 1], np.int32)], {"keepdims": 0}, -(2**31)),
        ("Neg", [np.array([-128], np.int8)], {}, [-128]),
        ("Div", [np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])], {}, [3, -3, -3, 3]),
        ("Mod", [np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])], {}, [1, 2, -2, -1]),
        ("Mod", [np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])], {"fmod": 1}, [1, -1, 1, -1]),
        ("Pow", [np.array([2, 3]), np.array([62, 2])], {}, [2**62, 9]),
        ("Pow", [np.array([2, -1]), np.array([-1, -1])], {}, [0, -1]),
        ("ReduceMean", [np.array([-7, 0])], {"keepdims": 0}, -3),
        ("ReduceMax", [np.zeros((0,), np.int32)], {"keepdims": 0}, -(2**31)),
        ("ReduceMax", [np.array([False, True])], {"keepdims": 0}, True),
        ("ArgMax", [f32(1, 3, 3)], {"keepdims": 0}, 1),
        ("ArgMax", [f32(1, 3, 3)], {"keepdims": 0, "select_last_index": 1}, 2),
        ("ArgMin", [f32(1, 1, 3)], {"keepdims": 0, "select_last_index": 1}, 1),
        ("ArgMax", [f32(1, NAN, 3)], {"keepdims": 0}, 1),
        ("Cast", [f32(1.9, -1.9, 2.5)], {"to": 7}, [1, -1, 2]),
        ("Cast", [f32(0.0, 0.1, NAN)], {"to": 9}, [False, True, True]),
        ("Cast", [np.array([300])], {"to": 2}, [44]),
        ("IsInf", [SPECIAL], {"detect_negative": 0}, [False, True, False, False, False, False]),
        ("IsNaN", [SPECIAL], {}, [True, False, False, False, False, False]),
        ("Equal", [SPECIAL[:2], SPECIAL[:2]], {}, [False, True]),
        ("Shape", [np.zeros((2, 0, 3))], {"start": -2}, [0, 3]),
        ("NonZero", [np.float32(3)], {}, [[0]]),
        ("OneHot", [np.array([-1, 0, 5]), np.array(3), np.array([0, 1])], {}, [[0, 0, 1], [1, 0, 0], [0, 0, 0]]),
    ],
)
def test_whole_numbers(op_type: str, inputs: list[Any], attributes: dict[str, Any], want: Any) -> None:
    assert compute(op_type, *inputs, **attributes).tolist() == want


def test_equals_keep_their_order() -> None:
    values, indices = compute("TopK", f32(1, 3, 3, 2, 3), np.array([4]), outputs=2)
    assert values.tolist() == [3, 3, 3, 2]
    assert indices.tolist() == [1, 2, 4, 3]
    assert compute("TopK", f32(2, 1, 1), np.array([2]), outputs=2, largest=0)[1].tolist() == [1, 2]
    assert compute("TopK", np.array([0, 255], np.uint8), np.array([1]), outputs=2)[1].tolist() == [1]
    assert compute("TopK", f32(1, NAN, 3), np.array([1]), outputs=2)[1].tolist() == [1]


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "want"),
    [
        ("Gather", [np.array([5, 6, 7]), np.array([-1, 0])], {}, [7, 5]),
        ("GatherElements", [np.array([[1, 2], [3, 4]]), np.array([[-1, 0]])], {}, [[3, 2]]),
        ("GatherND", [np.array([[1, 2], [3, 4]]), np.array([[-1, -2]])], {}, [3]),
        ("GatherND", [np.array([[1, 2], [3, 4]]), np.array([[1], [0]])], {"batch_dims": 1}, [2, 3]),
        ("ScatterElements", [np.zeros(3, int), np.array([-1]), np.array([9])], {}, [0, 0, 9]),
        ("ScatterElements", [np.ones(3, int), np.array([0, 0]), np.array([2, 3])], {"reduction": "add"}, [6, 1, 1]),
        ("ScatterND", [np.zeros(3, int), np.array([[-1], [0]]), np.array([9, 8])], {}, [8, 0, 9]),
        ("Slice", [np.arange(5), np.array([-1]), np.array([-(2**63)]), None, np.array([-2])], {}, [4, 2, 0]),
        ("Slice", [np.arange(5), np.array([10]), np.array([20])], {}, []),
        ("Slice", [np.arange(5), np.array([-10]), np.array([2**63 - 1])], {}, [0, 1, 2, 3, 4]),
        ("Slice", [np.zeros(0, int), np.array([-1]), np.array([-(2**63)]), None, np.array([-1])], {}, []),
        ("Pad", [np.arange(4), np.array([-1, 2])], {}, [1, 2, 3, 0, 0]),
        ("Pad", [np.arange(3), np.array([2, 0])], {"mode": "reflect"}, [2, 1, 0, 1, 2]),
        ("Split", [np.arange(5)], {"num_outputs": 1}, [0, 1, 2, 3, 4]),
        ("Expand", [np.ones((1, 0), int), np.array([3, 1])], {}, [[], [], []]),
        ("Reshape", [np.zeros((0, 3), int), np.array([0, 3])], {"allowzero": 1}, []),
        ("Range", [np.int64(5), np.int64(0), np.int64(-2)], {}, [5, 3, 1]),
        ("Trilu", [np.ones((2, 2), int), np.int64(1)], {"upper": 1}, [[0, 1], [0, 0]]),
    ],
)
def test_moving_elements(op_type: str, inputs: list[Any], attributes: dict[str, Any], want: Any) -> None:
    assert compute(op_type, *inputs, **attributes).tolist() == want


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "why"),
    [
        ("Gather", [np.arange(3), np.array([3])], {}, "index 3 is out of range for an axis of size 3"),
        ("Gather", [np.arange(3), np.array([-4])], {}, "index -4 is out of range"),
        ("GatherElements", [np.arange(3), np.array([5])], {}, "index 5 is out of range"),
        ("GatherND", [np.arange(3), np.array([[7]])], {}, "index 7 is out of range"),
        ("ScatterND", [np.arange(3), np.array([[3]]), np.array([1])], {}, "index 3 is out of range"),
        ("ScatterElements", [np.arange(3), np.array([-4]), np.array([1])], {}, "index -4 is out of range"),
        ("Concat", [np.arange(3), np.arange(3)], {"axis": 1}, "axis 1 is out of range for 1 dimensions"),
        ("Reshape", [np.arange(3), np.array([2, 2])], {}, "cannot reshape"),
        ("Split", [np.arange(3), np.array([1, 1])], {}, "does not add up to 3"),
        ("TopK", [f32(1), np.array([2])], {}, "k is 2, but the axis has only 1 elements"),
        ("Div", [np.array([1]), np.array([0])], {}, "integer division by zero"),
        ("Mod", [np.array([1]), np.array([0])], {}, "integer division by zero"),
        ("MatMul", [np.ones((2, 3)), np.ones((2, 3))], {}, ""),
    ],
)
def test_what_an_operator_refuses(op_type: str, inputs: list[Any], attributes: dict[str, Any], why: str) -> None:
    with pytest.raises(CompileError) as caught:
        compute(op_type, *inputs, **attributes)
    assert caught.value.code == "evaluation-failed"
    assert (caught.value.where or "").startswith(op_type)
    assert why in (caught.value.why or "")


def test_a_fully_masked_row_of_attention_is_zero() -> None:
    q = np.ones((1, 1, 2, 4), np.float32)
    mask = np.array([[True, True], [False, False]])
    y = compute("Attention", q, q, q, mask)
    assert y[0, 0].tolist() == [[1] * 4, [0] * 4]


def test_a_nan_beside_a_mask_is_still_seen() -> None:
    q = np.ones((1, 1, 1, 4), np.float32)
    q[..., 0] = NAN
    assert np.isnan(compute("Attention", q, q, q, np.array([[True]]))).any()


def test_nothing_at_all() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert compute("MatMul", empty, np.ones((4, 3), np.float32)).shape == (0, 3)
    assert (compute("MatMul", np.ones((2, 0), np.float32), np.ones((0, 3), np.float32)) == 0).all()
    assert compute("Softmax", empty).shape == (0, 4)
    assert compute("LayerNormalization", empty, np.ones(4, np.float32)).shape == (0, 4)
    assert compute("Gather", np.arange(3), np.zeros((0,), np.int64)).shape == (0,)
    assert compute("Concat", empty, empty, axis=0).shape == (0, 4)


def test_without_dimensions() -> None:
    assert run("(float x) => (float y) { t = Add(x, x)  y = Sqrt(t) }", np.float32(8)) == 4
    assert compute("Softmax", np.float32(3), axis=-1) == 1
    assert compute("ReduceSum", np.float32(3)).shape == ()
