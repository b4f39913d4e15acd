"""The error function's other side and inverse, the normal distribution's inverse, and the logarithm of its tail."""

from __future__ import annotations

import math

import torch

from compiler.frontend.written_out.rule import Rule, Rules
from compiler.frontend.written_out.series import is_single, series

_aten = torch.ops.aten

# erfinv(x) / x over w = -log(1 - x x), up to 5, and over the root of w up to 4.5 and up to 10
_MIDDLE = (
    1.49129894, 0.6017563034, -0.0091705595, -0.004962635327, 0.00091537967, -3.889562757e-6,
    -2.42025994e-5, 3.266571593e-6, 2.77588898e-7, -1.302336301e-7, 8.104643425e-9,
)  # fmt: skip
_TAIL = (
    3.20681897, 1.134528475, 0.004789778081, -0.001858674947, 0.0006278715658, -0.000192977796,
    4.732022001e-5, -6.935676341e-6, -4.831166894e-7,
)  # fmt: skip
_FAR_TAIL = (
    7.119353845, 2.772965959, -0.001732357595, -1.87124379e-5, 5.496802768e-5, -1.842865202e-5,
    4.765140746e-6, -1.105312195e-6, 2.411833902e-7,
)  # fmt: skip
# (1 + 2 t) exp(t t) erfc(t) over (t - 2) / (t + 2)
_SCALED_TAIL = (
    1.176006656, 0.02577967387, -0.1065931507, 0.03880887957, -0.005414899931, -0.0004081525728,
    0.0001984376825, 9.842532776e-6, -7.763265561e-6, -7.174001458e-7, 3.140694956e-7, 6.18842367e-8,
)  # fmt: skip


def _erfc(x: torch.Tensor) -> torch.Tensor:
    """The exporter writes 1 - erf(x), which leaves the digits of 1 to what is small. exp(-t t) is a product of two, and
    the larger exponent is exact."""
    t = x.clamp(min=0.5, max=11.0)
    near = (t * 16).round() / 16
    tail = torch.exp(-near * near) * torch.exp((near - t) * (near + t)) * _scaled_tail(t)
    return torch.where(x < 0.5, 1 - torch.erf(x), tail)


def _scaled_tail(t: torch.Tensor) -> torch.Tensor:
    """exp(t t) erfc(t), from 0 on."""
    return series((t - 2) / (t + 2), -1.0, 1.0, _SCALED_TAIL) / (1 + 2 * t)


def _erfinv(x: torch.Tensor) -> torch.Tensor:
    return _inverse(x, (1 - x) * (1 + x))


def _ndtri(p: torch.Tensor) -> torch.Tensor:
    """sqrt(2) erfinv(2 p - 1), where 1 - x x is 4 p (1 - p) without cancellation."""
    return math.sqrt(2) * _inverse(2 * p - 1, 4 * p * (1 - p))


def _inverse(x: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """erfinv(x), given 1 - x x as well."""
    w = -rest.log()
    root = w.clamp(min=5.0, max=100.0).sqrt()
    tail = torch.where(root < 4.5, series(root, math.sqrt(5), 4.5, _TAIL), series(root, 4.5, 10.0, _FAR_TAIL))
    result = x * torch.where(w < 5, series(w, 0.0, 5.0, _MIDDLE), tail)
    return torch.where(rest == 0, x.sign() * math.inf, torch.where(rest < 0, torch.full_like(x, math.nan), result))


def _log_ndtr(x: torch.Tensor) -> torch.Tensor:
    """Left of -1 the logarithm of the scaled tail, less the exponent that was scaled away."""
    t = (x.clamp(max=-1.0) * -math.sqrt(0.5)).clamp(max=1e18)
    left = (_scaled_tail(t) / 2).log() - x * x / 2
    right = torch.log1p(-torch.erfc(x.clamp(min=-1.0) * math.sqrt(0.5)) / 2)
    return torch.where(x < -1, left, right)


RULES: Rules = {
    _aten.erfc.default: Rule(_erfc, is_single),
    _aten.erfinv.default: Rule(_erfinv, is_single),
    _aten.special_erfc.default: Rule(_erfc, is_single),
    _aten.special_erfinv.default: Rule(_erfinv, is_single),
    _aten.special_log_ndtr.default: Rule(_log_ndtr, is_single),
    _aten.special_ndtri.default: Rule(_ndtri, is_single),
}
