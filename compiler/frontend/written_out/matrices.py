"""Small systems of linear equations: elimination with pivots, written out step by step.

A matrix of n rows becomes some 20 n operators, so that this is for matrices of cameras, poses and covariances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from compiler.frontend.written_out.rule import Arguments, Rule, Rules, shape_of

_aten = torch.ops.aten
LARGEST = 32


def _small(name: str) -> Callable[[torch.fx.Node, Arguments], bool]:
    def applies(node: torch.fx.Node, given: Arguments) -> bool:
        value = given[name].meta["val"]
        rows = value.shape[-2:]
        fixed = all(isinstance(size, int) and size <= LARGEST for size in rows)
        return fixed and bool(value.dtype.is_floating_point)

    return applies


# -- LU: rows change places so that each column is divided by its largest element ------------------------------------


def _lu(matrix: torch.Tensor, pivot: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """L and U in one matrix, the pivots counted from 0, the order of the rows, and how often two changed places."""
    rows, columns = matrix.shape[-2:]
    batch = list(matrix.shape[:-2])
    at, across = torch.arange(rows), torch.arange(columns)
    order = at.expand([*batch, rows])
    pivots, swaps = [], torch.zeros([*batch, 1], dtype=torch.int64)
    for step in range(min(rows, columns)):
        chosen = torch.full([*batch, 1], step)
        if pivot and step < rows - 1:
            below = matrix.narrow(-2, step, rows - step).select(-1, step).abs()
            chosen = below.argmax(-1, keepdim=True) + step
            places = torch.where(at == step, chosen, torch.where(at == chosen, torch.full_like(at, step), at))
            matrix = matrix.gather(-2, places.unsqueeze(-1).expand(matrix.shape))
            order = order.gather(-1, places)
            swaps = swaps + (chosen != step).to(torch.int64)
        pivots.append(chosen)
        column, row = matrix.narrow(-1, step, 1), matrix.narrow(-2, step, 1)
        top = row.narrow(-1, step, 1)
        zero = top == 0  # the whole column is, and stays
        factors = column / torch.where(zero, torch.ones_like(top), top)
        factors = torch.where((at > step).unsqueeze(-1), factors, torch.zeros_like(factors))
        rest = torch.where(across > step, row, torch.zeros_like(row))
        lower = (at > step).unsqueeze(-1) & (across == step)
        matrix = torch.where(lower, factors.expand(matrix.shape), matrix - factors * rest)
    chosen = torch.cat(pivots, -1) if pivots else torch.zeros([*batch, 0], dtype=torch.int64)
    return matrix, chosen, order, swaps


def _substitute(triangle: torch.Tensor, known: torch.Tensor, *, upper: bool, unit: bool) -> torch.Tensor:
    """Solves triangle @ x = known, one row after the other."""
    size = triangle.shape[-1]
    at = torch.arange(size).unsqueeze(-1)
    for step in reversed(range(size)) if upper else range(size):
        row, column = known.narrow(-2, step, 1), triangle.narrow(-1, step, 1)
        if not unit:
            row = row / column.narrow(-2, step, 1)
        left = at < step if upper else at > step
        factors = torch.where(left, column, torch.zeros_like(column))
        known = torch.where(at == step, row, known - factors * row)
    return known


def _solve(matrix: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    packed, _, order, _ = _lu(matrix)
    return _with_factors(packed, order, known)


def _with_factors(packed: torch.Tensor, order: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    batch = torch.broadcast_shapes(packed.shape[:-2], known.shape[:-2])
    known = known.expand([*batch, *known.shape[-2:]])
    order = order.unsqueeze(-1).expand([*batch, *known.shape[-2:]])
    lower = _substitute(packed, known.gather(-2, order), upper=False, unit=True)
    return _substitute(packed, lower, upper=True, unit=False).clone()


def _identity(matrix: torch.Tensor) -> torch.Tensor:
    size = matrix.shape[-1]
    return torch.eye(size, dtype=matrix.dtype).expand([*matrix.shape[:-2], size, size])


def _inverse(matrix: torch.Tensor) -> torch.Tensor:
    return _solve(matrix, _identity(matrix))


def _no_error(matrix: torch.Tensor) -> torch.Tensor:
    return torch.zeros(matrix.shape[:-2], dtype=torch.int32)


def _inverse_ex(matrix: torch.Tensor, check_errors: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return _inverse(matrix), _no_error(matrix)


def _is_vector(matrix: torch.Tensor, known: torch.Tensor) -> bool:
    return known.dim() == 1 or (known.dim() == matrix.dim() - 1 and known.shape == matrix.shape[:-1])


def _solved(matrix: torch.Tensor, known: torch.Tensor, left: bool) -> torch.Tensor:
    if _is_vector(matrix, known):
        return _solve(matrix, known.unsqueeze(-1)).squeeze(-1)
    return _solve(matrix, known) if left else _solve(matrix.mT, known.mT).mT.clone()


def _solved_ex(
    matrix: torch.Tensor, known: torch.Tensor, left: bool, check_errors: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    return _solved(matrix, known, left), _no_error(matrix)


def _tensor_inverse(tensor: torch.Tensor, ind: int) -> torch.Tensor:
    rows, columns = tensor.shape[:ind], tensor.shape[ind:]
    return _inverse(tensor.reshape(rows.numel(), columns.numel())).reshape([*columns, *rows])


def _tensor_solved(tensor: torch.Tensor, known: torch.Tensor, dims: Sequence[int] | None) -> torch.Tensor:
    tensor = tensor if dims is None else tensor.movedim(list(dims), list(range(-len(dims), 0)))
    columns = tensor.shape[known.dim() :]
    return _solve(tensor.reshape(known.numel(), columns.numel()), known.reshape(-1, 1)).reshape(columns)


def _is_small_as_matrix(node: torch.fx.Node, given: Arguments) -> bool:
    shape = shape_of(given["self"])
    return all(isinstance(size, int) for size in shape) and 0 < math.prod(shape) <= LARGEST**2


def _power(matrix: torch.Tensor, n: int) -> torch.Tensor:
    result = inverse = _inverse(matrix)
    for _ in range(-n - 1):
        result = result @ inverse
    return result


def _inverts(node: torch.fx.Node, given: Arguments) -> bool:
    return given["n"] < 0 and _is_square(node, given)


# -- determinants: OpenVINO has no Det -------------------------------------------------------------------------------


def _sign_and_diagonal(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    packed, _, _, swaps = _lu(matrix)
    odd = swaps.squeeze(-1) % 2 == 1
    diagonal = packed.diagonal(0, -2, -1)
    one = torch.ones(odd.shape, dtype=matrix.dtype)
    return torch.where(odd, -one, one), diagonal


def _determinant(matrix: torch.Tensor) -> torch.Tensor:
    sign, diagonal = _sign_and_diagonal(matrix)
    return sign * diagonal.prod(-1)


def _logarithm(matrix: torch.Tensor) -> torch.Tensor:
    return _determinant(matrix).log()


def _sign_and_logarithm(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sign, diagonal = _sign_and_diagonal(matrix)
    return sign * diagonal.sign().prod(-1), diagonal.abs().log().sum(-1)


# -- the factors themselves ------------------------------------------------------------------------------------------


def _lu_factor(matrix: torch.Tensor, pivot: bool) -> tuple[torch.Tensor, torch.Tensor]:
    packed, pivots, _, _ = _lu(matrix, pivot)
    return packed.clone(), (pivots + 1).to(torch.int32)


def _lu_factor_ex(
    matrix: torch.Tensor, pivot: bool = True, check_errors: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return *_lu_factor(matrix, pivot), _no_error(matrix)


def _unpacked(packed: torch.Tensor, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, columns = packed.shape[-2:]
    size = min(rows, columns)
    at, across = torch.arange(rows).unsqueeze(-1), torch.arange(columns)
    nothing = torch.zeros_like(packed)
    lower = torch.where(at > across, packed, torch.where(at == across, torch.ones_like(packed), nothing))
    upper = torch.where(at <= across, packed, nothing)
    permutation = (order.unsqueeze(-2) == at).to(packed.dtype)
    return permutation, lower.narrow(-1, 0, size).clone(), upper.narrow(-2, 0, size).clone()


def _lu_parts(matrix: torch.Tensor, pivot: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    packed, _, order, _ = _lu(matrix, pivot)
    return _unpacked(packed, order)


def _order(pivots: torch.Tensor, rows: int) -> torch.Tensor:
    """Of the rows, after each has changed places with its pivot."""
    at = torch.arange(rows)
    order = at.expand([*pivots.shape[:-1], rows])
    for step in range(pivots.shape[-1]):
        chosen = pivots.narrow(-1, step, 1).to(torch.int64) - 1
        places = torch.where(at == step, chosen, torch.where(at == chosen, torch.full_like(at, step), at))
        order = order.gather(-1, places)
    return order


def _lu_unpack(
    packed: torch.Tensor, pivots: torch.Tensor, data: bool, with_pivots: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _unpacked(packed, _order(pivots, packed.shape[-2]))


def _wants_all(node: torch.fx.Node, given: Arguments) -> bool:
    return given["unpack_data"] and given["unpack_pivots"] and _small("LU_data")(node, given)


def _lu_solve(
    packed: torch.Tensor, pivots: torch.Tensor, known: torch.Tensor, left: bool, adjoint: bool
) -> torch.Tensor:
    if not left:
        return _lu_solve(packed, pivots, known.mT, True, not adjoint).mT.clone()
    order = _order(pivots, packed.shape[-2])
    if not adjoint:
        return _with_factors(packed, order, known)
    batch = torch.broadcast_shapes(packed.shape[:-2], known.shape[:-2])
    known = known.expand([*batch, *known.shape[-2:]])
    upper = _substitute(packed.mT, known, upper=False, unit=False)
    return _unpacked(packed, order)[0] @ _substitute(packed.mT, upper, upper=True, unit=True)


def _old_lu_solve(known: torch.Tensor, packed: torch.Tensor, pivots: torch.Tensor) -> torch.Tensor:
    return _lu_solve(packed, pivots, known, True, False)


# -- triangles and Cholesky ------------------------------------------------------------------------------------------


def _solve_triangular(triangle: torch.Tensor, known: torch.Tensor, upper: bool, left: bool, unit: bool) -> torch.Tensor:
    if not left:
        return _solve_triangular(triangle.mT, known.mT, not upper, True, unit).mT.clone()
    batch = torch.broadcast_shapes(triangle.shape[:-2], known.shape[:-2])
    known = known.expand([*batch, *known.shape[-2:]])
    return _substitute(triangle, known, upper=upper, unit=unit).clone()


def _old_solve_triangular(
    known: torch.Tensor, triangle: torch.Tensor, upper: bool, transpose: bool, unit: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    used = triangle.mT if transpose else triangle
    return _solve_triangular(used, known, upper != transpose, True, unit), triangle.clone()


def _root(matrix: torch.Tensor, upper: bool = False) -> torch.Tensor:
    """Cholesky: matrix = L @ L.mT, of which the given half is read."""
    size = matrix.shape[-1]
    matrix = matrix.mT if upper else matrix
    at, columns = torch.arange(size).unsqueeze(-1), []
    for step in range(size):
        column = matrix.narrow(-1, step, 1)
        column = torch.where(at >= step, column, torch.zeros_like(column)) / column.narrow(-2, step, 1).sqrt()
        columns.append(column)
        matrix = matrix - column * column.mT
    lower = torch.cat(columns, -1) if columns else matrix
    return lower.mT.clone() if upper else lower.clone()


def _root_ex(matrix: torch.Tensor, upper: bool, check_errors: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return _root(matrix, upper), _no_error(matrix)


def _solve_with_root(known: torch.Tensor, root: torch.Tensor, upper: bool) -> torch.Tensor:
    lower = root.mT if upper else root
    half = _solve_triangular(lower, known, False, True, False)
    return _solve_triangular(lower.mT, half, True, True, False)


def _invert_with_root(root: torch.Tensor, upper: bool) -> torch.Tensor:
    return _solve_with_root(_identity(root), root, upper)


# -- the exponential: Taylor's series of a matrix that is halved until it is small, then squared as often ------------

_TERMS, _REACH, _SQUARINGS = 18, 3.0, 12


def _exponential(matrix: torch.Tensor) -> torch.Tensor:
    norm = matrix.abs().sum(-2, keepdim=True).amax(-1, keepdim=True)
    count = (norm.clamp(min=_REACH) / _REACH).log2().ceil().clamp(max=_SQUARINGS)
    matrix = matrix * (-count).exp2()
    result = one = _identity(matrix)
    for term in reversed(range(1, _TERMS + 1)):
        result = one + (matrix @ result) / term
    for step in range(_SQUARINGS):
        result = torch.where(count > step, result @ result, result)
    return result


def _is_square(node: torch.fx.Node, given: Arguments) -> bool:
    return _small("A" if "A" in given else "self")(node, given)


RULES: Rules = {
    _aten.cholesky.default: Rule(_root, _is_square),
    _aten.cholesky_inverse.default: Rule(_invert_with_root, _is_square),
    _aten.cholesky_solve.default: Rule(_solve_with_root, _small("input2")),
    _aten.det.default: Rule(_determinant, _is_square),
    _aten.inverse.default: Rule(_inverse, _is_square),
    _aten.linalg_cholesky.default: Rule(_root, _is_square),
    _aten.linalg_cholesky_ex.default: Rule(_root_ex, _is_square),
    _aten.linalg_det.default: Rule(_determinant, _is_square),
    _aten.linalg_inv.default: Rule(_inverse, _is_square),
    _aten.linalg_inv_ex.default: Rule(_inverse_ex, _is_square),
    _aten.linalg_lu.default: Rule(_lu_parts, _is_square),
    _aten.linalg_lu_factor.default: Rule(_lu_factor, _is_square),
    _aten.linalg_lu_factor_ex.default: Rule(_lu_factor_ex, _is_square),
    _aten.linalg_lu_solve.default: Rule(_lu_solve, _small("LU")),
    _aten.linalg_matrix_exp.default: Rule(_exponential, _is_square),
    _aten.linalg_matrix_power.default: Rule(_power, _inverts),
    _aten.linalg_slogdet.default: Rule(_sign_and_logarithm, _is_square),
    _aten.linalg_solve.default: Rule(_solved, _is_square),
    _aten.linalg_solve_ex.default: Rule(_solved_ex, _is_square),
    _aten.linalg_solve_triangular.default: Rule(_solve_triangular, _small("self")),
    _aten.linalg_tensorinv.default: Rule(_tensor_inverse, _is_small_as_matrix),
    _aten.linalg_tensorsolve.default: Rule(_tensor_solved, _is_small_as_matrix),
    _aten.logdet.default: Rule(_logarithm, _is_square),
    _aten.lu_solve.default: Rule(_old_lu_solve, _small("LU_data")),
    _aten.lu_unpack.default: Rule(_lu_unpack, _wants_all),
    _aten.matrix_exp.default: Rule(_exponential, _is_square),
    _aten.slogdet.default: Rule(_sign_and_logarithm, _is_square),
    _aten.triangular_solve.default: Rule(_old_solve_triangular, _small("A")),
    _aten._lu_with_info.default: Rule(_lu_factor_ex, _is_square),
}
