"""Products at sizes around the tiles, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import EPSILON, Lowered, close, normal
from tvm import relax

ROWS = (1, 7, 8, 9, 15, 16, 17, 33, 128)


def _near(got: np.ndarray, a: np.ndarray, b: np.ndarray, extra: np.ndarray | float = 0.0) -> None:
    """Each element within what rounding a sum of this many products allows."""
    wide, deep = a.astype(np.float64), b.astype(np.float64)
    bound = np.abs(wide) @ np.abs(deep) + np.abs(extra)
    assert (np.abs(got - (wide @ deep + extra)) <= 2 * EPSILON * np.sqrt(a.shape[-1]) * bound + 1e-37).all()


@pytest.mark.parametrize("width", [1, 7, 16, 17, 33, 48, 100, 768])
@pytest.mark.parametrize("depth", [1, 5, 64])
def test_constant_weights_at_any_number_of_rows(width: int, depth: int) -> None:
    w, bias = normal(depth, width), normal(width, seed=1)
    run = Lowered(
        lambda bb, x: relax.op.add(bb.emit(relax.op.matmul(x, relax.const(w))), relax.const(bias)), ["n", depth]
    )
    assert not run.explain.declined
    for rows in ROWS:
        a = normal(rows, depth)
        _near(run(a), a, w, bias.astype(np.float64))


@pytest.mark.parametrize("rows", ROWS)
def test_constant_weights_at_a_fixed_number_of_rows(rows: int) -> None:
    w = normal(33, 50)
    run = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), [rows, 33])
    assert not run.explain.declined
    _near(run(normal(rows, 33)), normal(rows, 33), w)


@pytest.mark.parametrize("factor", [2, 4, 7, 49, 196, 197, 12])
def test_rows_that_are_a_multiple_of_something(factor: int) -> None:
    w = normal(24, 40)
    run = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), ["b", factor, 24])
    assert not run.explain.declined
    for batch in (1, 3):
        _near(run(normal(batch, factor, 24)), normal(batch, factor, 24), w)


@pytest.mark.parametrize(
    ("left", "right", "sizes"),
    [
        ((2, 3, 7, 5), (2, 3, 5, 17), [{}]),
        ((2, 3, 7, 5), (2, 3, 5, 32), [{}]),
        (("b", 3, "s", 5), ("b", 3, 5, "t"), [{"b": 2, "s": 7, "t": 17}, {"b": 1, "s": 1, "t": 1}]),
        (("b", 3, "s", "k"), ("b", 3, "k", 16), [{"b": 2, "s": 9, "k": 33}, {"b": 1, "s": 16, "k": 1}]),
        (("b", 3, "s", "k"), ("k", "t"), [{"b": 2, "s": 9, "k": 33, "t": 40}]),
        ((4, 1, "s", 33), (3, 33, 16), [{"s": 5}]),
        ((1, 1, 6, 8), (5, 1, 8, 31), [{}]),
    ],
)
def test_two_tensors(left: tuple, right: tuple, sizes: list[dict[str, int]]) -> None:
    run = Lowered(lambda bb, a, b: relax.op.matmul(a, b), left, right)
    assert not run.explain.declined
    for size in sizes:
        a, b = (normal(*[size.get(n, n) for n in shape]) for shape in (left, right))
        _near(run(a, b), a, b)


def test_everything_that_follows_is_applied_to_the_tile() -> None:
    w, bias = normal(32, 48), normal(48, seed=1)

    def make(bb, x, residual):
        biased = bb.emit(relax.op.add(bb.emit(relax.op.matmul(x, relax.const(w))), relax.const(bias)))
        return relax.op.add(bb.emit(relax.op.nn.relu(biased)), residual)

    run = Lowered(make, ["b", "s", 32], ["b", "s", 48])
    assert len(run.functions) == 1
    x, residual = normal(2, 5, 32), normal(2, 5, 48)
    close(run(x, residual), np.maximum(x.astype(np.float64) @ w + bias, 0) + residual, terms=32, scale=20.0)


def test_the_same_weights_give_the_same_bits() -> None:
    w = normal(100, 60)
    run = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), ["n", 100])
    x = normal(37, 100)
    first = run(x)
    assert all(np.array_equal(run(x), first) for _ in range(20))


def test_nan_stays_in_its_row() -> None:
    w = normal(20, 20)
    x = normal(9, 20)
    x[8, 3] = np.nan
    got = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), ["n", 20])(x)
    assert np.isnan(got[8]).all()
    assert np.isfinite(got[:8]).all()


@pytest.mark.parametrize("dtype", ["float64", "int32", "int64"])
def test_other_types_take_the_general_way(dtype: str) -> None:
    a, b = (np.arange(n).reshape(shape).astype(dtype) for n, shape in ((35, (5, 7)), (21, (7, 3))))
    run = Lowered(lambda bb, a, b: relax.op.matmul(a, b), ["n", 7], [7, 3], dtypes=[dtype, dtype])
    np.testing.assert_array_equal(run(a, b), a @ b)
    assert run.explain.declined


@pytest.mark.parametrize("depth", [512, 640, 770, 1000, 3072])
@pytest.mark.parametrize("rows", [1, 17, "n"])
def test_long_sums_are_added_up_in_parts(depth: int, rows: int | str) -> None:
    """In one chain the error is 0.15 of this unit, at every length."""
    w, bias = normal(depth, 50), normal(50, seed=1)
    run = Lowered(
        lambda bb, x: relax.op.add(bb.emit(relax.op.matmul(x, relax.const(w))), relax.const(bias)), [rows, depth]
    )
    assert not run.explain.declined
    a = normal(rows if isinstance(rows, int) else 9, depth)
    _near(run(a), a, w, bias.astype(np.float64))
    error = run(a) - (a.astype(np.float64) @ w + bias)
    assert np.sqrt(np.mean(error**2)) < 0.12 * EPSILON * depth


def test_a_length_without_divisors_stays_whole() -> None:
    w, a = normal(769, 50), normal(17, 769)
    run = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), [17, 769])
    assert not run.explain.declined
    _near(run(a), a, w)


def test_long_sums_of_two_tensors() -> None:
    run = Lowered(lambda bb, x, y: relax.op.matmul(x, y), ["b", 17, 1024], ["b", 1024, 33])
    assert not run.explain.declined
    a, b = normal(2, 17, 1024), normal(2, 1024, 33, seed=1)
    _near(run(a, b), a, b)
