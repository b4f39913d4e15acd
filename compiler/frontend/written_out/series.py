"""Sums of Chebyshev polynomials, fitted to float32's precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from compiler.frontend.written_out.rule import Arguments


def is_single(node: torch.fx.Node, given: Arguments) -> bool:
    """The fits are good for nothing wider."""
    value = next(argument for argument in given.values() if isinstance(argument, torch.fx.Node)).meta["val"]
    return value.dtype in (torch.float32, torch.float16, torch.bfloat16)


def series(x: torch.Tensor, lowest: float, highest: float, factors: Sequence[float]) -> torch.Tensor:
    """The sum of factors[k] T_k over [lowest, highest]; at its ends for what lies outside.

    As a polynomial, by Horner's rule: each step is used once. Clenshaw's recurrence uses it twice, which grows without
    bound where a compiler writes one step into the next.
    """
    x = x.clamp(lowest, highest)
    t = (x - (lowest + highest) / 2) * (2 / (highest - lowest))
    powers = [float(factor) for factor in np.polynomial.chebyshev.cheb2poly(factors)]
    total = torch.full_like(t, powers[-1])
    for factor in reversed(powers[:-1]):
        total = total * t + factor
    return total
