"""Elementwise operators without a translation of torch's exporter."""

from __future__ import annotations

import torch

from compiler.frontend.written_out.rule import Arguments, Rule, Rules

_aten = torch.ops.aten


def _copysign(size: torch.Tensor, sign: torch.Tensor | float) -> torch.Tensor:
    sign = sign if isinstance(sign, torch.Tensor) else torch.full_like(size, sign)
    negative = (sign < 0) | ((sign == 0) & (sign.reciprocal() < 0))  # -0 is told by its reciprocal alone
    size = size.to(torch.promote_types(size.dtype, sign.dtype))
    return torch.where(negative, -size.abs(), size.abs())


def _is_float(node: torch.fx.Node, given: Arguments) -> bool:
    return bool(given["self"].meta["val"].dtype.is_floating_point)


def _fmax(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.where(left.isnan(), right, torch.where(right.isnan(), left, torch.maximum(left, right)))


def _fmin(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.where(left.isnan(), right, torch.where(right.isnan(), left, torch.minimum(left, right)))


def _hypot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The larger side is taken out, so that no square overflows."""
    left, right = left.abs(), right.abs()
    longer, shorter = torch.maximum(left, right), torch.minimum(left, right)
    ratio = torch.where((longer == 0) | longer.isinf(), torch.zeros_like(longer), shorter / longer)
    return longer * (1 + ratio * ratio).sqrt()


def _is_in(
    elements: torch.Tensor, tests: torch.Tensor, assume_unique: bool = False, invert: bool = False
) -> torch.Tensor:
    found = (elements.unsqueeze(-1) == tests.flatten()).any(-1)
    return found.logical_not() if invert else found


def _same(data: torch.Tensor, dims: list[int]) -> torch.Tensor:
    return data.clone()


RULES: Rules = {
    _aten.copysign.Tensor: Rule(_copysign, _is_float),
    _aten.copysign.Scalar: Rule(_copysign, _is_float),
    _aten.fmax.default: Rule(_fmax),
    _aten.fmin.default: Rule(_fmin),
    _aten.hypot.default: Rule(_hypot),
    _aten.isin.Tensor_Tensor: Rule(_is_in),
    _aten.squeeze.dims: Rule(_same, lambda node, given: not given["dim"]),
}
