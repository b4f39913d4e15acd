"""relax.matmul of float32 with float32, or with constant bytes, as register tiles.

A constant right side [K, N] is stored as [panels, K, tile columns], so that one panel is read from front to back
while all rows pass over it; its last panel is filled up with zeros. The rows of the last tile that do not exist read
the last one that does, and are not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.sym import Analyzer

from backends.tvm.lower.kernels.call import DeclinedError, Lowering
from backends.tvm.lower.relax_tools import Extent, constant, dtype_of, fixed, is_float32, known, shape_of
from backends.tvm.lower.tiles import USUAL_ROWS, Tile, ceil_div, pick_tile
from backends.tvm.target import Machine

TILE = "plumbline.tile"


def matmul(at: Lowering, call: relax.Call) -> relax.Expr:
    left, right = call.args
    weight = constant(right)
    of_bytes = weight is not None and dtype_of(right) == "int8"
    if not is_float32(left, call) or not (is_float32(right) or of_bytes):
        raise DeclinedError(f"{dtype_of(call)} is not float32")
    if left.ty.ndim < 2 or right.ty.ndim < 2:
        raise DeclinedError("an operand is a vector")
    if weight is not None and weight.ndim == 2:
        return _by_constant(at, left, right, weight)
    return _by_tensor(at, left, right)


def pack(weight: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """[K, N] as [panels, K, columns]."""
    depth, width = weight.shape
    panels = ceil_div(width, columns)
    padded = np.zeros((depth, panels * columns), weight.dtype)
    padded[:, :width] = weight
    return np.ascontiguousarray(padded.reshape(depth, panels, columns).transpose(1, 0, 2))


def _by_constant(at: Lowering, left: relax.Expr, right: relax.Expr, weight: np.ndarray[Any, Any]) -> relax.Expr:
    width = weight.shape[1]
    columns = tile_for(shape_of(left)[-2], width, at.machine).columns
    return by_packed(at, left, at.packed((right, columns), lambda: pack(weight, columns)), width)


def tile_for(rows: Extent | None, width: int, machine: Machine) -> Tile:
    return fitting(rows, pick_tile(known(rows), width, machine))


def by_packed(at: Lowering, left: relax.Expr, packed: relax.Expr, width: int) -> relax.Expr:
    columns = shape_of(packed)[-1]
    tile = Tile(_rows_beside(at, shape_of(left)[-2], width, columns), columns)

    def compute(a: te.Tensor, w: te.Tensor) -> te.Tensor:
        def panel(_: Sequence[Any], k: Any, column: Any) -> Any:
            return w(column // columns, k, column % columns).astype("float32")

        return product(a, panel, list(a.shape[:-2]), width, tile)

    return at.call(compute, left, packed, name="matmul")


def _rows_beside(at: Lowering, rows: Extent, width: int, columns: int) -> int:
    """The height of a tile whose width is settled."""
    return fitting(rows, pick_tile(known(rows), width, at.machine, columns // at.machine.vector_lanes)).rows


def _by_tensor(at: Lowering, left: relax.Expr, right: relax.Expr) -> relax.Expr:
    width = known(shape_of(right)[-1])
    rows = shape_of(left)[-2]
    tile = fitting(rows, pick_tile(known(rows), width or USUAL_ROWS, at.machine))

    def compute(a: te.Tensor, b: te.Tensor) -> te.Tensor:
        panels = None if width is not None and width % tile.columns == 0 else packed_panels(b, tile.columns)

        def panel(i: Sequence[Any], k: Any, column: Any) -> Any:
            if panels is None:
                return b(*broadcast(i, b.shape[:-2]), k, column)
            return panels(*broadcast(i, b.shape[:-2]), column // tile.columns, k, column % tile.columns)

        return product(a, panel, broadcast_shape(a.shape[:-2], b.shape[:-2]), b.shape[-1], tile)

    return at.call(compute, left, right, name="matmul")


def broadcast_shape(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    lead = len(longer) - len(shorter)
    return [*longer[:lead], *(y if fixed(x) == 1 else x for x, y in zip(longer[lead:], shorter, strict=True))]


def broadcast(indices: Sequence[Any], shape: Sequence[Any]) -> list[Any]:
    """Where in axes of this shape, aligned at the end, the element for these indices is."""
    own = list(indices)[len(indices) - len(shape) :]
    return [0 if fixed(size) == 1 else index for size, index in zip(shape, own, strict=True)]


def packed_panels(b: te.Tensor, columns: int) -> te.Tensor:
    """[..., K, N] as [..., panels, K, columns] while the model runs, filled up with zeros."""
    *lead, depth, width = b.shape
    panels = fixed(tirx.floordiv(width + columns - 1, columns))

    def element(*i: tirx.Var) -> Any:
        *batch, panel, k, lane = i
        column = panel * columns + lane
        return tirx.if_then_else(column < width, b(*batch, k, column), tirx.const(0, b.dtype))

    return te.compute((*lead, panels, depth, columns), element, name="panels")


def product(
    a: te.Tensor, panel: Callable[[Sequence[Any], Any, Any], Any], batch: list[Any], width: Any, tile: Tile
) -> te.Tensor:
    """The tiles, and the part of them that exists. `panel` reads the right side at (batch, k, column)."""
    *lead, rows, depth = a.shape
    k = te.reduce_axis((0, depth), name="k")
    exact = multiple_of(rows) % tile.rows == 0

    def element(*i: tirx.Var) -> Any:
        *place, row, column = i
        inside = row if exact else tirx.min(row, rows - 1)
        return te.sum(a(*broadcast(place, lead), inside, k) * panel(place, k, column), axis=k)

    shape = (*batch, round_up(rows, tile.rows), round_up(width, tile.columns))
    tiles = te.compute(shape, element, name="tiles", attrs={TILE: [tile.rows, tile.columns]})
    return te.compute((*batch, rows, width), lambda *i: tiles(*i), name="product")


def fitting(rows: Extent | None, tile: Tile) -> Tile:
    """The tile with a height that suits rows of an unknown number.

    Of 196*b rows no tile of 7 is incomplete. A height that shares a factor with the 196 but does not divide it is no
    good: TVM shortens the fraction in the number of tiles and can no longer show that they cover the rows.
    """
    if rows is None or isinstance(rows, int):
        return tile
    factor = multiple_of(rows)
    heights = range(tile.rows, 0, -1)
    dividing = next((height for height in heights if factor % height == 0), 1)
    coprime = next(height for height in heights if math.gcd(factor, height) == 1)
    return Tile(dividing if 2 * dividing > tile.rows else coprime, tile.columns)


def multiple_of(extent: Extent) -> int:
    """The largest number that is known to divide it."""
    if isinstance(fixed(extent), int):
        return int(fixed(extent))
    found = Analyzer().modular_set(extent)
    return math.gcd(int(found.coeff), int(found.base))


def round_up(size: Any, step: int) -> Any:
    return fixed(tirx.floordiv(size + step - 1, step) * step)
