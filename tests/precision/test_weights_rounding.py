"""Weights as whole numbers, without a graph."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.precision.rounding import Grid, nearest

GRIDS = [Grid(8, 0, True), Grid(8, 0, False), Grid(4, 32, True), Grid(4, 32, False), Grid(4, 0, True)]


def normal(rows: int = 24, columns: int = 64) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def relative(have: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(have - want) / np.linalg.norm(want))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_numbers_stay_on_the_grid_and_near_the_weights(grid: Grid) -> None:
    rows = normal()
    rounded = nearest(rows, grid)
    assert rounded.codes.min() >= grid.low
    assert rounded.codes.max() <= grid.high
    assert rounded.scales.scale.shape == (24, 64 // (grid.size or 64))
    assert (rounded.scales.zero is None) == grid.symmetric
    assert relative(rounded.rows, rows) < (0.01 if grid.bits == 8 else 0.14)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_search_beats_the_whole_range(symmetric: bool) -> None:
    rows = np.random.default_rng(1).standard_t(4, (24, 64)).astype(np.float32)
    grid = Grid(4, 32, symmetric)
    groups = grid.groups(rows)
    low = np.zeros(1) if symmetric else np.minimum(groups.min(-1, keepdims=True), 0)
    top = np.abs(groups).max(-1, keepdims=True) if symmetric else np.maximum(groups.max(-1, keepdims=True), 0)
    step = (top - low) / (7 if symmetric else 15)
    plain = (np.rint(groups / step) * step).reshape(rows.shape)
    assert relative(nearest(rows, grid).rows, rows) < 0.98 * relative(plain, rows)


def test_what_is_on_one_side_needs_a_zero_point() -> None:
    rows = 5 + normal()
    error = {symmetric: relative(nearest(rows, Grid(4, 32, symmetric)).rows, rows) for symmetric in (True, False)}
    assert error[False] < 0.7 * error[True]


@pytest.mark.parametrize("grid", [Grid(4, 32, True), Grid(4, 32, False), Grid(4, 0, True)], ids=str)
def test_what_goes_in_moves_the_error_to_where_it_does_not_count(grid: Grid) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((400, 64)) @ rng.standard_normal((64, 64)) * np.where(np.arange(64) % 8, 0.1, 10)
    rows, second = normal(), (x.T @ x / len(x)).astype(np.float32)
    plain, weighed = nearest(rows, grid), nearest(rows, grid, second)
    lost = [float(np.square(x @ (each.rows - rows).T).sum()) for each in (plain, weighed)]
    assert lost[1] < 0.9 * lost[0]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("value", [0.0, 1e-38, 1e30, -3.0])
def test_groups_of_one_value(grid: Grid, value: float) -> None:
    rounded = nearest(np.full((2, 64), value, np.float32), grid)
    assert np.isfinite(rounded.rows).all()
    np.testing.assert_allclose(rounded.rows, value, rtol=1e-2, atol=1e-37)


def test_bits_count_the_scales_and_the_zeros() -> None:
    assert nearest(normal(), Grid(4, 32, True)).bits == 4 + 32 / 32
    assert nearest(normal(), Grid(4, 32, False)).bits == 4 + (32 + 4) / 32
    assert nearest(normal(), Grid(8, 0, True)).bits == 8 + 32 / 64


def test_many_rows_are_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nearest(normal(), Grid(4, 32, False))
    monkeypatch.setattr("compiler.precision.rounding._AT_ONCE", 64 * 5)
    parts = nearest(normal(), Grid(4, 32, False))
    np.testing.assert_array_equal(whole.codes, parts.codes)
    np.testing.assert_array_equal(whole.scales.scale, parts.scales.scale)
