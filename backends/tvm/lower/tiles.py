"""How many rows and columns of a product one core keeps in its vector registers."""

from __future__ import annotations

from dataclasses import dataclass

from backends.tvm.target import Machine

# What an unknown number of rows is taken for when a tile is chosen.
USUAL_ROWS = 128
# Rows of one tile. Rows of 4096 bytes all fall into the same sets of the L1 cache, which has 8 to 12 ways.
_MOST_ROWS = 8


@dataclass(frozen=True)
class Tile:
    rows: int
    columns: int  # a multiple of the vector width


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def pick_tile(rows: int | None, columns: int, machine: Machine, vectors: int | None = None) -> Tile:
    """The tile whose copies cover rows x columns in the fewest cycles, by a simple model of one core.

    `vectors` settles its width, where the weights are packed already.
    """
    count = USUAL_ROWS if rows is None else rows
    best: tuple[float, Tile] | None = None
    for wide in (2, 4, 3, 1) if vectors is None else (vectors,):
        # One register for each accumulator, for each vector of weights, and for the broadcast row element.
        most = min((machine.registers - 1 - wide) // wide, _MOST_ROWS, max(count, 1))
        for height in range(1, most + 1):
            tile = Tile(height, wide * machine.vector_lanes)
            cycles = ceil_div(count, height) * ceil_div(columns, tile.columns) * _cycles(height, wide)
            if best is None or cycles < best[0] * 0.998:
                best = (cycles, tile)
    assert best is not None
    return best[1]


def _cycles(height: int, wide: int) -> float:
    """One step of the reduction: two multiply-adds and two loads in a cycle, four cycles until a sum can be used."""
    multiply_adds = height * wide / 2
    loads = (wide + height) / 2
    crowded = 0.3 if height * wide >= 24 else 0.0
    return max(multiply_adds, loads, 4.0) + 0.35 + crowded
