"""What is said of many calls."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.measure.latency import ENOUGH_FOR_P999, latency, steady_after


def test_percentiles_and_the_mean_with_its_interval() -> None:
    found = latency([number / 1000 for number in range(1, 1001)])
    assert found.count == 1000
    assert found.p50 == pytest.approx(0.5005)
    assert found.p90 == pytest.approx(0.9001)
    assert found.p99 == pytest.approx(0.99001)
    assert found.mean == pytest.approx(0.5005)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.2887 / np.sqrt(1000), rel=0.2)


def test_one_in_a_thousand_needs_ten_thousand() -> None:
    calls = np.random.default_rng(0).random(ENOUGH_FOR_P999)
    assert latency(calls).p999 == pytest.approx(0.999, abs=2e-3)
    assert latency(calls[1:]).p999 is None


@pytest.mark.parametrize(
    ("slow", "quick", "after"),
    [
        ([], [1.0] * 30, 1),
        ([5.0], [1.0] * 30, 1),
        ([5.0, 2.0, 2.1, 1.9, 2.0, 2.05], [1.0] * 30, 6),
        ([1.0, 1.0, 1.0, 1.0, 1.0], [2.0] * 30, 1),  # slower later is no warming up
    ],
)
def test_when_the_pace_is_found(slow: list[float], quick: list[float], after: int) -> None:
    rng = np.random.default_rng(0)
    calls = [seconds * factor for seconds, factor in zip([*slow, *quick], rng.uniform(0.99, 1.01, 99), strict=False)]
    assert steady_after(calls) == after


def test_a_hiccup_is_no_change_of_pace() -> None:
    calls = [1.0] * 40
    calls[10] = 9.0
    assert steady_after(calls) == 1
