"""Functions of one number against float64, over their whole range and where they bend."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from lowered import Lowered
from tvm import relax

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 88.72, 88.73, -87.4, -103.0, -104.0, 3e38, -3e38, 1e-40, -1e-40]
)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# name, operator, the true function, the largest error in units of the last place, where it is measured
CASES = [
    ("exp", relax.op.exp, np.exp, 1.5, (-87.0, 88.5)),
    ("erf", relax.op.erf, _erf, 1.5, (-5.0, 5.0)),
    ("tanh", relax.op.tanh, np.tanh, 1.5, (-12.0, 12.0)),
    ("sigmoid", relax.op.sigmoid, _sigmoid, 3.0, (-80.0, 80.0)),
    ("silu", relax.op.nn.silu, lambda x: x * _sigmoid(x), 3.5, (-80.0, 80.0)),
]


def _points(low: float, high: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-30, 0, 5000) * rng.choice([-1, 1], 5000)
    return np.concatenate([np.linspace(low, high, 60001), np.clip(tiny, low, high)]).astype(np.float32)


@pytest.mark.parametrize(("name", "make", "true", "ulps", "span"), CASES, ids=[case[0] for case in CASES])
def test_within_a_few_units_of_the_last_place(
    name: str, make: Callable, true: Callable, ulps: float, span: tuple[float, float]
) -> None:
    run = Lowered(lambda bb, x: make(x), ["n"])
    x = _points(*span)
    want = true(x.astype(np.float64))
    error = np.abs(run(x) - want) / np.spacing(np.abs(want).astype(np.float32))
    assert error.max() <= ulps, x[error.argmax()]


@pytest.mark.parametrize(("name", "make", "true"), [case[:3] for case in CASES], ids=[case[0] for case in CASES])
def test_special_values(name: str, make: Callable, true: Callable) -> None:
    run = Lowered(lambda bb, x: make(x), ["n"])
    x = SPECIAL.astype(np.float32)
    with np.errstate(all="ignore"):
        want = true(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(run(x), want, rtol=1e-6, atol=1e-37)


def test_exp_runs_into_zero_through_the_subnormal_numbers() -> None:
    x = np.linspace(-104, -87, 1000).astype(np.float32)
    want = np.exp(x.astype(np.float64))
    assert np.abs(Lowered(lambda bb, x: relax.op.exp(x), ["n"])(x) - want).max() <= 2 * 1.4e-45


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu(approximate: bool) -> None:
    run = Lowered(lambda bb, x: (relax.op.nn.gelu_tanh if approximate else relax.op.nn.gelu)(x), ["n"])
    x = np.linspace(-12, 12, 50001).astype(np.float32)
    y = x.astype(np.float64)
    inner = math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)
    want = 0.5 * y * (1 + np.tanh(inner)) if approximate else 0.5 * y * (1 + _erf(y / math.sqrt(2)))
    # 1 + erf cancels on the left, in every float32 implementation.
    assert np.abs(run(x) - want).max() <= 1e-6
    assert np.isnan(run(np.array([np.nan], np.float32))).all()


def test_relu_keeps_nan() -> None:
    x = np.array([np.nan, -np.inf, -1.0, 0.0, 2.0, np.inf], np.float32)
    np.testing.assert_array_equal(Lowered(lambda bb, x: relax.op.nn.relu(x), ["n"])(x), [np.nan, 0, 0, 0, 2, np.inf])


def test_clip_keeps_nan() -> None:
    x = np.array([np.nan, -np.inf, -1.0, 0.5, 2.0, np.inf], np.float32)
    run = Lowered(lambda bb, x: relax.op.clip(x, 0, 1), ["n"])
    np.testing.assert_array_equal(run(x), [np.nan, 0, 0, 0.5, 1, 1])
