"""Sizes to trace and check at: legal, different from each other, and never 0 or 1 where that can be helped."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.contracts import Dim, TensorSpec
from compiler.frontend import sizes

_RANGES = st.tuples(st.integers(0, 300), st.integers(1, 300), st.integers(1, 40))


def dims_of(ranges: list[tuple[int, int, int]]) -> dict[str, Dim]:
    return {
        f"d{number}": Dim(f"d{number}", lo * step, (lo + more) * step, step)
        for number, (lo, more, step) in enumerate(ranges)
    }


@settings(derandomize=True, max_examples=300)
@given(st.lists(_RANGES, max_size=6), st.sets(st.integers(0, 64), max_size=4))
def test_every_size_is_legal(ranges: list[tuple[int, int, int]], taken: set[int]) -> None:
    dims = dims_of(ranges)
    for found in (
        sizes.middle(dims, taken),
        sizes.ends(dims, "lo"),
        sizes.ends(dims, "hi"),
        sizes.other_middle(dims),
        sizes.drawn(dims, len(taken)),
        *sizes.corners(dims),
        sizes.trace_sizes([TensorSpec("x", "float32", (*taken, *dims.values()))]),
    ):
        assert list(found) == list(dims)
        assert all(found[name] in dim for name, dim in dims.items())


@settings(derandomize=True, max_examples=300)
@given(st.lists(_RANGES, max_size=6))
def test_a_model_is_never_traced_at_zero_or_one_step(ranges: list[tuple[int, int, int]]) -> None:
    dims = dims_of(ranges)
    for name, size in sizes.middle(dims).items():
        assert size >= 2 * dims[name].step or dims[name].hi < 2 * dims[name].step


@settings(derandomize=True, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(12, 300)), max_size=6), st.sets(st.integers(0, 9), max_size=4)
)
def test_wide_ranges_get_different_sizes(ranges: list[tuple[int, int]], taken: set[int]) -> None:
    dims = dims_of([(lo, more, 1) for lo, more in ranges])
    found = sizes.middle(dims, taken).values()
    assert len({*found, *taken}) == len(dims) + len(taken)


def test_equal_ranges_get_different_sizes() -> None:
    found = sizes.trace_sizes([TensorSpec("x", "float32", (Dim("a", 1, 8), Dim("b", 1, 8)))])
    assert found["a"] != found["b"]


def test_a_fixed_size_is_not_taken_again() -> None:
    assert sizes.trace_sizes([TensorSpec("x", "float32", (3, 5, Dim("n", 1, 8)))])["n"] not in (3, 5)


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        (Dim("n", 1, 32), 11),
        (Dim("n", 8, 256), 89),
        (Dim("h", 64, 512, 32), 5 * 32),
        (Dim("n", 1, 2), 2),
        (Dim("n", 0, 1), 1),
    ],
)
def test_the_middle_is_odd_and_away_from_the_ends_where_it_can_be(dim: Dim, size: int) -> None:
    assert sizes.middle({dim.name: dim}) == {dim.name: size}


def test_the_other_middle_is_another_one_and_odd() -> None:
    dims = {"n": Dim("n", 1, 32), "h": Dim("h", 64, 512, 32)}
    assert sizes.other_middle(dims) == {"n": 21, "h": 11 * 32}


def test_sizes_are_drawn_alike_from_the_same_seed() -> None:
    dims = {"n": Dim("n", 1, 1000), "m": Dim("m", 1, 1000)}
    assert sizes.drawn(dims, 3) == sizes.drawn(dims, 3) != sizes.drawn(dims, 4)
    assert len({sizes.drawn(dims, seed)["n"] for seed in range(20)}) > 10


def test_each_dim_is_at_its_high_end_in_some_corner() -> None:
    dims = {"a": Dim("a", 1, 8), "b": Dim("b", 2, 16)}
    assert sizes.corners(dims) == [{"a": 8, "b": 2}, {"a": 1, "b": 16}]


def test_labels() -> None:
    assert sizes.label({}) == "fixed shapes"
    assert sizes.label({"batch": 1, "seq": 8}) == "batch=1 seq=8"
