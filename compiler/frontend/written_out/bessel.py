"""Bessel's functions of order 0 and 1: fits near 0, and decaying or swinging waves far from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.frontend.written_out.rule import Rule, Rules
from compiler.frontend.written_out.series import is_single, series

_aten = torch.ops.aten

# -- I: exp(-x) I0(x) and exp(-x) I1(x) / x over [0, 8], then both times sqrt(x) over 8 / x ----------------------------

_I0 = (
    0.3383976372, -0.3046826723, 0.1716209015, -0.09490109705, 0.04930528424, -0.02373741481,
    0.01054646039, -0.004324309995, 0.001639475617, -0.0005763755745, 0.0001885028851, -5.75419501e-5,
    1.644844807e-5, -4.416738358e-6, 1.117387539e-6, -2.670793854e-7, 6.046995023e-8, -1.30002501e-8,
)  # fmt: skip
_I0_FAR = (0.4022452055, 0.003369116478, 6.889758347e-5, 2.891370521e-6, 2.048918589e-7, 2.26666899e-8)
_I1 = (
    0.1262935932, -0.1764165184, 0.1026436587, -0.05294598121, 0.02472644903, -0.01056408489,
    0.004156422944, -0.001513572451, 0.0005122859562, -0.0001617608158, 4.781565108e-5, -1.327316366e-5,
    3.470251308e-6, -8.568720265e-7, 2.003294754e-7, -4.445059129e-8, 9.381537386e-9, -1.887249752e-9,
)  # fmt: skip
_I1_FAR = (0.3892881175, -0.009761097491, -0.0001105889388, -3.882564809e-6, -2.512236238e-7, -2.631468847e-8)


def _far(size: torch.Tensor, bound: float, factors: Sequence[float]) -> torch.Tensor:
    """At infinity 1 / sqrt(x) is 0."""
    size = size.clamp(min=bound)
    return series(bound / size, 0.0, 1.0, factors) * size.rsqrt()


def _i0e(x: torch.Tensor) -> torch.Tensor:
    size = x.abs()
    return torch.where(size <= 8, series(size, 0.0, 8.0, _I0), _far(size, 8.0, _I0_FAR))


def _i1e(x: torch.Tensor) -> torch.Tensor:
    size = x.abs()
    return torch.where(size <= 8, x * series(size, 0.0, 8.0, _I1), x.sign() * _far(size, 8.0, _I1_FAR))


def _grown(scaled: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """In two halves: exp(x) overflows before the product does."""
    half = (x.abs() / 2).exp()
    return torch.where(x.isinf(), scaled.sign() * math.inf, scaled * half * half)


def _i0(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isinf(), x.abs(), _grown(_i0e(x), x))


def _i1(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isinf(), x, _grown(_i1e(x), x))


# -- K: what is left beside log(x / 2) I(x) over x x up to 4, then exp(x) sqrt(x) K over 2 / x ---

_K0 = (-0.2676636966, 0.3442898999, 0.03597993652, 0.001264615411, 2.286212103e-5, 2.534791079e-7)
_K0_FAR = (
    1.220151541, -0.03144810131, 0.001569883886, -0.0001284954958, 1.394981372e-5, -1.831755523e-6,
    2.766813639e-7, -4.660489898e-8, 8.574034017e-9,
)  # fmt: skip
_K1 = (0.7626501137, -0.3531559608, -0.1226111808, -0.00697572386, -0.0001730288958, -2.433406142e-6)
_K1_FAR = (
    1.360313095, 0.1039237366, -0.00285781686, 0.0001952155185, -1.936197974e-5, 2.406484948e-6,
    -3.501960603e-7, 5.741084125e-8, -1.034576247e-8,
)  # fmt: skip


def _k0(x: torch.Tensor) -> torch.Tensor:
    near = series(x * x, 0.0, 4.0, _K0) - (x / 2).log() * _i0(x.clamp(max=2.0))
    return torch.where(x <= 2, near, _far(x, 2.0, _K0_FAR) * (-x).exp())


def _k1(x: torch.Tensor) -> torch.Tensor:
    near = series(x * x, 0.0, 4.0, _K1) / x + (x / 2).log() * _i1(x.clamp(max=2.0))
    return torch.where(x <= 2, near, _far(x, 2.0, _K1_FAR) * (-x).exp())


def _k0e(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x <= 2, _k0(x) * x.clamp(max=2.0).exp(), _far(x, 2.0, _K0_FAR))


def _k1e(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x <= 2, _k1(x) * x.clamp(max=2.0).exp(), _far(x, 2.0, _K1_FAR))


# -- J and Y: J0, J1 / x, and Y without its logarithm, over x x up to 64 -----------------------------------------------

_J0 = (
    0.1577279715, -0.008723442353, 0.2651786132, -0.3700949939, 0.1580671023, -0.03489376941,
    0.004819180069, -0.0004606261662, 3.246032882e-5, -1.761946908e-6, 7.608163592e-8, -2.679253531e-9,
)  # fmt: skip
_J1 = (
    0.08104484633, -0.1489751451, 0.1609992624, -0.08268049177, 0.02221363965, -0.003646940601,
    0.0004050337728, -3.255554867e-5, 1.985877405e-6, -9.521984757e-8, 3.687133759e-9,
)  # fmt: skip
_Y0 = (
    -0.0331461132, -0.2744743055, 0.1790343141, 0.2615673463, -0.1773020128, 0.0471966896, -0.00728796248,
    0.0007531135933, -5.632079141e-5, 3.206532538e-6, -1.440723327e-7, 5.248794787e-9,
)  # fmt: skip
_Y1 = (
    0.002538013236, -0.01608717305, -0.09591204536, 0.0844519726, -0.02832812394, 0.005289897544,
    -0.0006414551451, 5.505982873e-5, -3.538080019e-6, 1.770780456e-7, -7.11055005e-9,
)  # fmt: skip

# Far from 0 the wave's size and phase: sqrt(2 / pi x) (P cos(x - c) - 8/x Q sin(x - c)), over 64 / x x
_P0 = (0.9994603493, -0.0005365220468, 3.075184788e-6, -5.170594538e-8)
_Q0 = (-0.01555585461, 6.838519943e-5, -7.414498411e-7, 1.797245725e-8)
_P1 = (1.000903041, 0.0008989898331, -3.9872843e-6, 6.177633961e-8)
_Q1 = (0.04677778707, -9.627723549e-5, 9.138615258e-7, -2.095978138e-8)


def _waves(x: torch.Tensor, order: int) -> tuple[torch.Tensor, torch.Tensor]:
    """J and Y right of 8. The phase's quarter of pi goes into sums of sine and cosine: x itself is exact."""
    finite = x.clamp(min=8.0, max=1e30)
    ratio = 8 / finite
    p = series(ratio * ratio, 0.0, 1.0, _P1 if order else _P0)
    q = series(ratio * ratio, 0.0, 1.0, _Q1 if order else _Q0) * ratio
    sine, cosine = finite.sin(), finite.cos()
    along, across = (sine - cosine, -sine - cosine) if order else (cosine + sine, sine - cosine)
    height = (math.pi * finite).rsqrt()
    nothing = x.isinf()
    j, y = height * (p * along - q * across), height * (p * across + q * along)
    return torch.where(nothing, torch.zeros_like(j), j), torch.where(nothing, torch.zeros_like(y), y)


def _j0(x: torch.Tensor) -> torch.Tensor:
    size = x.abs()
    return torch.where(size <= 8, series(size * size, 0.0, 64.0, _J0), _waves(size, 0)[0])


def _j1(x: torch.Tensor) -> torch.Tensor:
    size = x.abs()
    return torch.where(size <= 8, x * series(size * size, 0.0, 64.0, _J1), x.sign() * _waves(size, 1)[0])


def _y0(x: torch.Tensor) -> torch.Tensor:
    near = series(x * x, 0.0, 64.0, _Y0) + 2 / math.pi * x.log() * _j0(x.clamp(max=8.0))
    return torch.where(x <= 8, near, _waves(x, 0)[1])


def _y1(x: torch.Tensor) -> torch.Tensor:
    near = x * series(x * x, 0.0, 64.0, _Y1) + 2 / math.pi * (x.log() * _j1(x.clamp(max=8.0)) - x.reciprocal())
    near = torch.where(x == 0, torch.full_like(x, -math.inf), near)
    return torch.where(x <= 8, near, _waves(x, 1)[1])


def _spherical_j0(x: torch.Tensor) -> torch.Tensor:
    wave = torch.where(x.isinf(), torch.zeros_like(x), x.sin() / x)
    return torch.where(x == 0, torch.ones_like(x), wave)


RULES: Rules = {
    _aten.i0.default: Rule(_i0, is_single),
    _aten.special_bessel_j0.default: Rule(_j0, is_single),
    _aten.special_bessel_j1.default: Rule(_j1, is_single),
    _aten.special_bessel_y0.default: Rule(_y0, is_single),
    _aten.special_bessel_y1.default: Rule(_y1, is_single),
    _aten.special_i0.default: Rule(_i0, is_single),
    _aten.special_i0e.default: Rule(_i0e, is_single),
    _aten.special_i1.default: Rule(_i1, is_single),
    _aten.special_i1e.default: Rule(_i1e, is_single),
    _aten.special_modified_bessel_i0.default: Rule(_i0, is_single),
    _aten.special_modified_bessel_i1.default: Rule(_i1, is_single),
    _aten.special_modified_bessel_k0.default: Rule(_k0, is_single),
    _aten.special_modified_bessel_k1.default: Rule(_k1, is_single),
    _aten.special_scaled_modified_bessel_k0.default: Rule(_k0e, is_single),
    _aten.special_scaled_modified_bessel_k1.default: Rule(_k1e, is_single),
    _aten.special_spherical_bessel_j0.default: Rule(_spherical_j0, is_single),
}
