from __future__ import annotations

import pytest

from compiler.passes.sizes import Size

N, M = Size.of("n"), Size.of("m")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (N + M, M + N),
        (N * M, M * N),
        (Size.of("2*n + 1"), N + N + Size.of(1)),
        (Size.of("n*(m + 1)"), N * M + N),
        (N - N, Size.of(0)),
        (Size.of("-n + m"), M - N),
        ((N * M * Size.of(6)).divided(Size.of(2) * M), N * Size.of(3)),
    ],
)
def test_equal_sums_compare_equal(one: Size, other: Size) -> None:
    assert one == other


def test_a_number_knows_itself() -> None:
    assert Size.of(0).number == 0
    assert Size.of(7).number == 7
    assert (N - N + Size.of(3)).number == 3
    assert N.number is None


def test_what_does_not_divide_is_no_size() -> None:
    assert (N + Size.of(1)).divided(Size.of(2)) is None
    assert N.divided(M) is None


@pytest.mark.parametrize("text", ["n//2", "floor(n/2)", "Max(1, n)", "n n", "((((", "n**2"])
def test_what_is_not_understood_is_a_name_of_its_own(text: str) -> None:
    assert Size.of(text) == Size.of(text)
    assert Size.of(text) != N
    assert Size.of(text).number is None
