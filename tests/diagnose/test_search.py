"""Searching with questions that are dear, and some that have no answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from compiler.diagnose.search import narrow, reduce


@pytest.mark.parametrize("turn", range(1, 33))
def test_it_turns_between_neighbours(turn: int) -> None:
    asked: list[int] = []

    def is_bad(place: int) -> bool:
        asked.append(place)
        return place >= turn

    assert narrow(0, 32, is_bad) == (turn - 1, turn)
    assert len(asked) <= 5


@pytest.mark.parametrize("turn", range(32))
def test_the_bad_may_come_first(turn: int) -> None:
    assert narrow(32, 0, lambda place: place <= turn) == (turn + 1, turn)


def test_what_cannot_tell_is_left_between() -> None:
    assert narrow(0, 10, lambda place: None if place in (4, 5, 6) else place >= 5) == (3, 7)
    assert narrow(0, 10, lambda _: None) == (0, 10)


def test_neighbours_are_not_asked_about() -> None:
    assert narrow(3, 4, lambda _: pytest.fail("there is nothing to ask")) == (3, 4)


@pytest.mark.parametrize("needed", [[3], [0, 7], [2, 3, 11], list(range(12))])
def test_only_what_is_needed_is_left(needed: list[int]) -> None:
    def still_bad(items: Sequence[int]) -> Sequence[int] | None:
        return items if set(needed) <= set(items) else None

    assert list(reduce(range(12), still_bad)) == needed


def test_an_answer_may_leave_more_away_than_was_asked() -> None:
    assert list(reduce(range(100), lambda items: [item for item in items if item < 3] if 2 in items else None)) == [2]
