"""Convolutions at sizes around the tiles, against float64 convolutions of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from lowered import EPSILON, Extent, Lowered, normal
from tvm import relax

from backends.tvm.target import machine

_MAKE = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
_TRUE = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}


def _true(x: np.ndarray, w: np.ndarray, strides: Any, pads: Sequence[int], dilations: Any, groups: int) -> np.ndarray:
    dims = x.ndim - 2
    borders = [pad for axis in reversed(range(dims)) for pad in (pads[axis], pads[dims + axis])]
    data = torch.nn.functional.pad(torch.from_numpy(x).double(), borders)
    kernel = torch.from_numpy(w).double()
    return _TRUE[dims](data, kernel, stride=strides, dilation=dilations, groups=groups).numpy()


def _check(
    data: Sequence[Extent],
    weight: Sequence[int],
    sizes: Sequence[dict[str, int]] = ({},),
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    declines: bool = False,
) -> Lowered:
    dims = len(weight) - 2
    strides, dilations = strides or [1] * dims, dilations or [1] * dims
    pads = pads or [0] * (2 * dims)
    w = normal(*weight, seed=1)

    def make(bb, x):
        made = _MAKE[dims](x, relax.const(w), list(strides), list(pads), list(dilations), groups)
        return relax.op.nn.relu(bb.emit(made))

    run = Lowered(make, data)
    assert bool(run.explain.declined) == declines, run.explain.declined
    for size in sizes:
        x = normal(*[size.get(n, n) for n in data])
        want = _true(x, w, strides, pads, dilations, groups)
        bound = _true(np.abs(x), np.abs(w), strides, pads, dilations, groups)
        got = run(x)
        assert got.shape == want.shape
        terms = np.prod(weight[1:])
        assert (np.abs(got - np.maximum(want, 0)) <= 2 * EPSILON * np.sqrt(terms) * bound + 1e-37).all()
    return run


@pytest.mark.parametrize("outputs", [1, 7, 16, 17, 33, 64])
@pytest.mark.parametrize("inputs", [1, 3, 16])
def test_channels(inputs: int, outputs: int) -> None:
    _check(["n", inputs, 9, 11], [outputs, inputs, 3, 3], [{"n": 1}, {"n": 3}], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9, 14, 17, 56])
def test_widths(width: int) -> None:
    _check([1, 5, 4, width], [20, 5, 1, 1])
    _check([1, 5, 4, width], [20, 5, 3, 3], pads=[1, 1, 1, 1])


def test_height_and_width_known_only_when_it_runs() -> None:
    sizes = [{"n": 1, "h": 5, "w": 7}, {"n": 2, "h": 16, "w": 33}, {"n": 1, "h": 3, "w": 3}]
    _check(["n", 6, "h", "w"], [18, 6, 3, 3], sizes, pads=[1, 1, 1, 1])
    _check(["n", 6, "h", "w"], [18, 6, 3, 3], sizes, strides=[2, 2], pads=[1, 0, 1, 2])
    _check(["n", 32, "h", "w"], [32, 1, 3, 3], sizes, pads=[1, 1, 1, 1], groups=32)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 2, 0, 3], [2, 2, 2, 2]])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2], [1, 3]])
@pytest.mark.parametrize("dilations", [[1, 1], [2, 1]])
def test_windows(pads: list[int], strides: list[int], dilations: list[int]) -> None:
    _check([2, 4, 10, 13], [10, 4, 3, 2], strides=strides, pads=pads, dilations=dilations)


@pytest.mark.parametrize("groups", [2, 4])
def test_groups(groups: int) -> None:
    _check(["n", 8, 9, 9], [32 * groups, 8 // groups, 3, 3], [{"n": 2}], pads=[1, 1, 1, 1], groups=groups)


def test_groups_that_fill_no_vector_take_the_general_way() -> None:
    _check(["n", 6, 9, 9], [9, 2, 3, 3], [{"n": 2}], pads=[1, 1, 1, 1], groups=3, declines=True)


@pytest.mark.parametrize("channels", [16, 32, 48, 96])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
@pytest.mark.parametrize("size", [3, 7])
def test_depthwise(channels: int, strides: list[int], size: int) -> None:
    half = size // 2
    weight = [channels, 1, size, size]
    _check(["n", channels, 14, 15], weight, [{"n": 2}], strides, [half] * 4, groups=channels)
    _check([1, channels, 7, 7], weight, strides=strides, pads=[half] * 4, groups=channels)


def test_depthwise_with_odd_channels() -> None:
    _check(["n", 10, 9, 9], [10, 1, 3, 3], [{"n": 2}], pads=[1, 1, 1, 1], groups=10, declines=True)


def test_one_dimension() -> None:
    _check(["n", 6, "l"], [40, 6, 5], [{"n": 1, "l": 5}, {"n": 2, "l": 50}], strides=[2], pads=[2, 2])
    _check(["n", 32, "l"], [32, 1, 5], [{"n": 2, "l": 50}], pads=[2, 2], groups=32)


def test_three_dimensions() -> None:
    _check(["n", 3, 5, 6, 7], [18, 3, 3, 3, 3], [{"n": 2}], pads=[1] * 6)


def test_layouts_between_convolutions_cancel() -> None:
    w = normal(16, 16, 3, 3)

    def make(bb, x):
        for _ in range(3):
            x = bb.emit(relax.op.nn.relu(bb.emit(relax.op.nn.conv2d(x, relax.const(w), padding=1))))
            x = bb.emit(relax.op.nn.max_pool2d(x, [2, 2], [1, 1]))
        return relax.op.mean(x, [2, 3])

    run = Lowered(make, ["n", 16, 12, 12])
    assert sum("transpose" in name for name in run.functions) == 1
    data = torch.from_numpy(normal(2, 16, 12, 12)).double()
    for _ in range(3):
        data = torch.relu(torch.nn.functional.conv2d(data, torch.from_numpy(w).double(), padding=1))
        data = torch.nn.functional.max_pool2d(data, 2, 1)
    want = data.mean((2, 3)).numpy()
    np.testing.assert_allclose(run(normal(2, 16, 12, 12)), want, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_transposed_in_steps_of_two_over_a_dynamic_height(threads: int) -> None:
    """2m - 1 lines come of m, and TVM cannot divide by that what is divided again (docs/backends/known-issues.md)."""
    w = normal(3, 4, 1, 1)

    def make(bb, x):
        return relax.op.nn.conv2d_transpose(x, relax.const(w), strides=(2, 2))

    run = Lowered(make, ["n", 3, "m", 8], cpu=machine({"threads": threads}))
    assert not run.explain.declined
    for n, m in ((1, 1), (3, 5)):
        x = normal(n, 3, m, 8)
        want = torch.nn.functional.conv_transpose2d(
            torch.from_numpy(x).double(), torch.from_numpy(w).double(), stride=2
        )
        np.testing.assert_allclose(run(x), want.numpy(), rtol=1e-5, atol=1e-6)
