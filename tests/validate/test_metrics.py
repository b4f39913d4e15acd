"""What a contract can measure, on numbers that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compiler.contracts import Array
from compiler.validate.metrics import METRICS


def measured(name: str, got: Array, want: Array) -> float:
    return METRICS[name].compute(np.asarray(got, np.float32), np.asarray(want, np.float64))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4), (0, 5)])
def test_the_same_is_as_good_as_can_be(name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    best = {"psnr": math.inf, "kl": 0.0}.get(name, 1.0)
    assert measured(name, values, values) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "got", "want", "value"),
    [
        ("cosine", [1, 0], [1, 1], math.sqrt(0.5)),
        ("cosine", [0, 0], [0, 0], 1.0),
        ("cosine", [0, 0], [1, 0], 0.0),
        ("cosine", [-2, 0], [1e300, 0], -1.0),
        ("psnr", [0, 1.1], [0, 1], 10 * math.log10(1 / 0.005)),
        ("psnr", [2, 2], [1, 1], -math.inf),
        ("top1", [[1, 2], [3, 1]], [[0, 1], [0, 1]], 0.5),
        ("top1", [[1, 2]], [[5, 5]], 1.0),
        ("kl", [[0, 0]], [[0, math.log(3)]], 0.25 * math.log(0.5) + 0.75 * math.log(1.5)),
        ("kl", [[0.5, 0.5]], [[0.25, 0.75]], 0.25 * math.log(0.5) + 0.75 * math.log(1.5)),
        ("kl", [[0.0, 1.0]], [[0.0, 1.0]], 0.0),
        ("kl", [[1.0, 0.0]], [[0.0, 1.0]], math.inf),
        ("equal", [1, 2, 3, 4], [1, 2, 3, 5], 0.75),
    ],
)
def test_a_value(name: str, got: object, want: object, value: float) -> None:
    assert measured(name, np.array(got), np.array(want)) == pytest.approx(value, rel=1e-5)


def test_masked_logits_are_no_classes() -> None:
    want = np.array([[1.0, -np.inf, 2.0]])
    assert measured("kl", want, want) == 0.0
    assert measured("cosine", want, want) == pytest.approx(1.0)
    assert measured("top1", want, want) == 1.0
