"""Operators that are brought into another form first, and reductions and pooling, against PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lowered import Lowered, Made, normal
from tvm import relax

_TRANSPOSED = {1: relax.op.nn.conv1d_transpose, 2: relax.op.nn.conv2d_transpose}


@pytest.mark.parametrize("shape", [(2, 5, 33), (3, 40, 16), (1, 1, 7)])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_over_another_axis(shape: tuple[int, ...], axis: int) -> None:
    run = Lowered(lambda bb, x: relax.op.nn.softmax(x, axis), ["a", "b", shape[2]])
    assert not run.explain.declined
    x = normal(*shape)
    np.testing.assert_allclose(run(x), torch.from_numpy(x).double().softmax(axis).numpy(), rtol=4e-6)


@pytest.mark.parametrize("length", [1, 16, 33, 100])
def test_log_softmax(length: int) -> None:
    run = Lowered(lambda bb, x: relax.op.nn.log_softmax(x, -1), ["n", "k"])
    x = 5 * normal(4, length)
    np.testing.assert_allclose(run(x), torch.from_numpy(x).double().log_softmax(-1).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 12, 5, 7), (1, 32, 16, 16), (3, 8, 33)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dynamic", [False, True])
def test_group_norm(shape: tuple[int, ...], groups: int, dynamic: bool) -> None:
    scale, bias = normal(shape[1]), normal(shape[1], seed=1)

    def make(bb, x):
        axes = list(range(2, len(shape)))
        return relax.op.nn.group_norm(x, relax.const(scale), relax.const(bias), groups, 1, axes, 1e-5)

    run = Lowered(make, ["n", shape[1], *("hw"[: len(shape) - 2] if dynamic else shape[2:])])
    assert not run.explain.declined
    x = 3 * normal(*shape) + 2
    tensors = (torch.from_numpy(array).double() for array in (scale, bias))
    want = torch.nn.functional.group_norm(torch.from_numpy(x).double(), groups, *tensors).numpy()
    np.testing.assert_allclose(run(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strides", [[1, 1], [2, 2], [3, 2]])
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize(("pads", "extra", "steps"), [(0, 0, 1), (1, 0, 1), (0, 0, 2)])
def test_conv_transpose(strides: list[int], size: tuple[int, int], pads: int, extra: int, steps: int) -> None:
    w = normal(6, 10, *size)

    def make(bb, x):
        made = _TRANSPOSED[2](x, relax.const(w), strides, [pads] * 4, [extra] * 2, [steps] * 2)
        return relax.op.nn.relu(bb.emit(made))

    run = Lowered(make, ["n", 6, "h", "w"])
    for sizes in ((1, 5, 4), (2, 3, 7)):
        x = normal(sizes[0], 6, *sizes[1:])
        data, kernel = torch.from_numpy(x).double(), torch.from_numpy(w).double()
        true = torch.nn.functional.conv_transpose2d(data, kernel, None, strides, pads, extra, 1, steps)
        want = torch.relu(true).numpy()
        if want.size:
            np.testing.assert_allclose(run(x), want, rtol=1e-5, atol=1e-5)


def test_conv_transpose_in_one_dimension_with_output_padding() -> None:
    w = normal(6, 10, 3)
    run = Lowered(lambda bb, x: _TRANSPOSED[1](x, relax.const(w), [2], [1, 1], [1]), ["n", 6, "l"])
    x = normal(2, 6, 9)
    tensors = (torch.from_numpy(array).double() for array in (x, w))
    want = torch.nn.functional.conv_transpose1d(*tensors, None, 2, 1, 1).numpy()
    np.testing.assert_allclose(run(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axes", [[-1], [0], [1, 2], [0, 1, 2], [1]])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("name", "true"), [("sum", np.sum), ("mean", np.mean), ("max", np.max), ("min", np.min)])
def test_reductions(name: str, true, axes: list[int], kept: bool) -> None:
    run = Lowered(lambda bb, x: getattr(relax.op, name)(x, axes, kept), ["a", "b", "c"])
    assert not run.explain.declined
    for shape in ((2, 3, 33), (1, 7, 1), (4, 1, 48)):
        x = normal(*shape)
        want = true(x.astype(np.float64), axis=tuple(axes), keepdims=kept)
        np.testing.assert_allclose(run(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [5, 40])
def test_extremes_keep_nan_and_infinity(length: int) -> None:
    x = np.full((4, length), -np.inf, np.float32)
    x[1, 2], x[2, 3], x[3] = 7, np.nan, np.inf
    for name, true in (("max", np.max), ("min", np.min)):
        run = Lowered(lambda bb, x, name=name: getattr(relax.op, name)(x, [-1]), ["n", length])
        np.testing.assert_array_equal(run(x), true(x, axis=-1))


def test_a_long_sum_is_accurate() -> None:
    x = normal(2, 1_000_001) + 1
    run = Lowered(lambda bb, x: relax.op.sum(x, [-1]), ["n", "k"])
    np.testing.assert_allclose(run(x), x.astype(np.float64).sum(-1), rtol=2e-4)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling(last: bool, size: int) -> None:
    layout = "NHWC" if last else "NCHW"
    pads = [size // 2] * 4
    x = -1 - np.abs(normal(2, 16, 9, 10))  # the border must not win
    x[0, 3, 4, 5] = -np.inf
    given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x
    shape = ["n", "h", "w", 16] if last else ["n", 16, "h", "w"]

    def back(array: np.ndarray) -> np.ndarray:
        return array.transpose(0, 3, 1, 2) if last else array

    def largest(bb, x):
        return relax.op.nn.max_pool2d(x, [size] * 2, [2, 2], pads, layout=layout, out_layout=layout)

    data = torch.from_numpy(x).double()
    want = torch.nn.functional.max_pool2d(data, size, 2, size // 2).numpy()
    np.testing.assert_array_equal(back(Lowered(largest, shape)(given)), want.astype(np.float32))
    x[np.isinf(x)] = -1
    given[np.isinf(given)] = -1
    for counted in (False, True):

        def mean(bb, x, counted=counted):
            return relax.op.nn.avg_pool2d(
                x, [size] * 2, [2, 2], pads, count_include_pad=counted, layout=layout, out_layout=layout
            )

        true = torch.nn.functional.avg_pool2d(torch.from_numpy(x), size, 2, size // 2, count_include_pad=counted)
        np.testing.assert_allclose(back(Lowered(mean, shape)(given)), true.numpy(), rtol=1e-5)


def test_a_window_of_nothing_but_minus_infinity() -> None:
    x = np.full((1, 16, 4, 4), -np.inf, np.float32)
    x[0, 0, 0, 0] = np.nan
    got = Lowered(lambda bb, x: relax.op.nn.max_pool2d(x, [3, 3], [1, 1], [1] * 4), ["n", 16, 4, 4])(x)
    assert np.isneginf(got[0, 1]).all()
    assert np.isnan(got[0, 0, :2, :2]).all()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda bb, x, w: relax.op.nn.conv1d_transpose(x, w), "its weights are not constant"),
        (lambda bb, x, w: relax.op.nn.conv1d_transpose(x, relax.const(normal(4, 3, 3)), groups=2), "it has groups"),
    ],
    ids=["computed weights", "groups"],
)
def test_a_form_that_there_is_no_kernel_for_is_told(make: Made, reason: str) -> None:
    run = Lowered(make, [1, 4, 9], [4, 3, 3])
    (told,) = [line for line in run.explain.declined if line.startswith("nn.conv1d_transpose(")]
    assert reason in told
