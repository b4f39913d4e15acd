"""What this machine can do at its best."""

from __future__ import annotations

import pytest

from compiler.bench import peaks
from compiler.bench.peaks import Peak, Peaks

PEAKS = Peaks(1, {"float32": Peak(1e9, "x"), "bfloat16": Peak(4e9, "y")}, {1000: 1e9, 10**6: 1e8})


@pytest.mark.parametrize(
    ("flops", "moved", "dtype", "seconds"),
    [
        (10**6, 10, "float32", 1e-3),  # products take longer
        (0, 500, "float32", 0.5e-6),  # it fits the cache
        (0, 5000, "float32", 5e-5),
        (0, 10**9, "float32", 10),  # more than was measured
        (10**6, 10, "bfloat16", 0.25e-3),
        (10**6, 10, "float16", 1e-3),  # nothing multiplies it here: it is held against float32
    ],
)
def test_the_least_that_work_can_take(flops: int, moved: int, dtype: str, seconds: float) -> None:
    assert PEAKS.seconds(flops, moved, dtype) == pytest.approx(seconds)


@pytest.mark.parametrize("name", list(peaks.PRODUCTS))
def test_every_library_multiplies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_SIDE", 8)
    peaks.product(name, "float32", 1)()


def test_copies_of_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_COPIES", (2**10, 2**20))
    found = peaks.copies(2).answers()
    assert isinstance(found, dict)
    assert list(found) == [2**11, 2**21]
    assert all(rate > 0 for rate in found.values())
