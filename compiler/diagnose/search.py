"""Searching with few questions, some of which have no answer, in a time that is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """The time that a search may take."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def over(self) -> bool:
        return time.monotonic() >= self._end


def narrow(good: int, bad: int, is_bad: Callable[[int], bool | None]) -> tuple[int, int]:
    """Of a good and a bad place the nearest two between which it turns. None says that a place cannot tell."""
    silent: set[int] = set()
    while True:
        between = [place for place in range(min(good, bad) + 1, max(good, bad)) if place not in silent]
        if not between:
            return good, bad
        place = between[len(between) // 2]
        answer = is_bad(place)
        if answer is None:
            silent.add(place)
        elif answer:
            bad = place
        else:
            good = place


def reduce(items: Sequence[T], still_bad: Callable[[Sequence[T]], Sequence[T] | None]) -> Sequence[T]:
    """As few of the items as are still bad together.

    `still_bad` answers with what is left of a selection that is bad, which may be less than it was asked about, and
    with None for one that is not.
    """
    size = len(items) // 2
    while size:
        start = 0
        while start < len(items) > 1:
            fewer = still_bad([*items[:start], *items[start + size :]])
            if fewer:
                items = fewer
            else:
                start += size
        size //= 2
    return items
