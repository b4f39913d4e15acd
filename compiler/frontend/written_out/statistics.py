"""Sums and spreads that torch's exporter writes for most arguments, and not or wrongly for these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from compiler.frontend.written_out.rule import Arguments, Rule, Rules, shape_of

_aten = torch.ops.aten
_Pair = tuple[torch.Tensor, torch.Tensor]

# -- the spread of fewer elements than it takes is NaN, where a division by nothing comes out ------------------------


def _has_no_freedom(node: torch.fx.Node, given: Arguments) -> bool:
    shape, taken = shape_of(given["self"]), given.get("unbiased", given.get("correction"))
    axes = given.get("dim") or range(len(shape))
    counted = [shape[axis] for axis in axes]
    return all(isinstance(size, int) for size in counted) and math.prod(counted) <= (1 if taken is None else taken)


def _unknown(data: torch.Tensor, *given: Any) -> torch.Tensor:
    dim, keepdim = (None, False) if len(given) == 1 else (given[0], given[2])
    return torch.full_like(data.sum(dim, keepdim=keepdim), math.nan)


def _unknown_and_mean(data: torch.Tensor, *given: Any) -> _Pair:
    unknown = _unknown(data, *given)
    if data.numel() == 0:
        return unknown, unknown.clone()
    return unknown, data.mean() if len(given) == 1 else data.mean(given[0], keepdim=given[2])


# -- norms and extrema of a single number, which has no axis; a norm that keeps its axis -----------------------------


def _is_number(node: torch.fx.Node, given: Arguments) -> bool:
    return not shape_of(given["self"])


def _size_of_number(
    data: torch.Tensor, ord: float, dim: Sequence[int] | None, keepdim: bool, dtype: torch.dtype | None
) -> torch.Tensor:
    size = data.to(dtype or data.dtype).abs()
    return (size != 0).to(size.dtype) if ord == 0 else size


def _only(data: torch.Tensor, k: int, dim: int, largest: bool, ordered: bool) -> _Pair:
    return data.clone(), torch.zeros_like(data, dtype=torch.int64)


def _keeps_the_only_axis(node: torch.fx.Node, given: Arguments) -> bool:
    return given["keepdim"] and given["dim"] is None and len(shape_of(given["self"])) == 1


def _norm_of_line(
    data: torch.Tensor, ord: float | None, dim: None, keepdim: bool, dtype: torch.dtype | None
) -> torch.Tensor:
    return torch.linalg.vector_norm(data, 2 if ord is None else ord, [0], keepdim=True, dtype=dtype)


# -- the others ------------------------------------------------------------------------------------------------------


def _differ(node: torch.fx.Node, given: Arguments) -> bool:
    """The exporter forgets to make them alike under this name."""
    values = [given[name] for name in ("self", "other")]
    return all(isinstance(value, torch.fx.Node) for value in values) and _type(values[0]) != _type(values[1])


def _type(node: Any) -> torch.dtype:
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype


def _quotient(data: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    common = torch.promote_types(data.dtype, other.dtype)
    return torch.div(data.to(common), other.to(common))


_MEAN, _SUM = 1, 2


def _cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    positive: torch.Tensor | None,
    reduction: int,
) -> torch.Tensor:
    """Not by the logarithm of what was rounded to 1: log sigmoid(x) = min(x, 0) - log(1 + exp(-|x|))."""
    tail = torch.log1p((-logits.abs()).exp()) + (-logits).clamp(min=0)
    loss = (1 - target) * logits + (tail if positive is None else (1 + (positive - 1) * target) * tail)
    loss = loss if weight is None else loss * weight
    return loss.mean() if reduction == _MEAN else loss.sum() if reduction == _SUM else loss


RULES: Rules = {
    _aten.binary_cross_entropy_with_logits.default: Rule(_cross_entropy),
    _aten.divide.Tensor: Rule(_quotient, _differ),
    _aten.true_divide.Tensor: Rule(_quotient, _differ),
    _aten.linalg_norm.default: Rule(_norm_of_line, _keeps_the_only_axis),
    _aten.linalg_vector_norm.default: Rule(_size_of_number, _is_number),
    _aten.std.correction: Rule(_unknown, _has_no_freedom),
    _aten.std.default: Rule(_unknown, _has_no_freedom),
    _aten.std_mean.correction: Rule(_unknown_and_mean, _has_no_freedom),
    _aten.std_mean.default: Rule(_unknown_and_mean, _has_no_freedom),
    _aten.topk.default: Rule(_only, _is_number),
    _aten.var.correction: Rule(_unknown, _has_no_freedom),
    _aten.var.default: Rule(_unknown, _has_no_freedom),
    _aten.var_mean.correction: Rule(_unknown_and_mean, _has_no_freedom),
    _aten.var_mean.default: Rule(_unknown_and_mean, _has_no_freedom),
}
