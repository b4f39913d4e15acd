"""Contenders beside each other on a terminal: in one table, or in several where the page is too narrow for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from compiler.report.terminal import grid

_SHORTEST, _LONGEST = 16, 32  # letters of a name in a line; a longer one goes on in the next
_GAP, _EDGES = 2, 2
_KEPT_TOGETHER = 4  # columns: speed is never shown without how equal the numbers are


@dataclass(frozen=True)
class Column:
    head: str
    cells: Sequence[Text]

    @property
    def width(self) -> int:
        return max(len(self.head), *map(len, self.cells))

    @property
    def room(self) -> int:
        """With what separates it from the next."""
        return self.width + _GAP


def grids(names: Sequence[str], columns: Sequence[Column], width: int) -> Iterator[Table]:
    """The names stand in each of them."""
    left = width - _EDGES - _GAP
    name = max(_SHORTEST, min(_LONGEST, max(map(len, names)), left - _together(columns[:_KEPT_TOGETHER])))
    for some in _split(columns, left - name):
        table = grid("")
        table.padding = (0, 0, 0, 1)
        table.columns[0].width = name
        for column in some:
            table.add_column(column.head, no_wrap=True, width=column.width)
        for place, label in enumerate(names):
            table.add_row(Text(label), *(column.cells[place] for column in some))
        yield table


def _together(columns: Sequence[Column]) -> int:
    return sum(column.room for column in columns)


def _split(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    some = list(columns[:_KEPT_TOGETHER])
    for column in columns[_KEPT_TOGETHER:]:
        if _together([*some, column]) > width:
            yield some
            some = []
        some.append(column)
    yield some
