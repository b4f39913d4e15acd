"""Sums of Chebyshev polynomials, fitted to float32's precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.frontend.written_out.rule import Arguments


def is_single(node: torch.fx.Node, given: Arguments) -> bool:
    """The fits are good for nothing wider."""
    value = next(argument for argument in given.values() if isinstance(argument, torch.fx.Node)).meta["val"]
    return value.dtype in (torch.float32, torch.float16, torch.bfloat16)


def series(x: torch.Tensor, lowest: float, highest: float, factors: Sequence[float]) -> torch.Tensor:
    """The sum of factors[k] T_k over [lowest, highest], by Clenshaw's recurrence; at its ends for what lies outside."""
    x = x.clamp(lowest, highest)
    t = (x - (lowest + highest) / 2) * (2 / (highest - lowest))
    before = torch.zeros_like(t)
    now = torch.full_like(t, factors[-1])
    for factor in reversed(factors[1:-1]):
        now, before = 2 * t * now - before + factor, now
    return t * now - before + factors[0]
