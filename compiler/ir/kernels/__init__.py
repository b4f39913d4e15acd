"""What the evaluator computes by itself: exact kernels, one table for each family of operators."""

from __future__ import annotations

from compiler.ir.kernels import (
    attention,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    optionals,
    pooling,
    quantization,
    recurrent,
    reductions,
    resize,
    sampling,
    shaping,
)
from compiler.ir.kernels.support import Call, Kernel

KERNELS: dict[str, Kernel] = {
    **attention.TABLE,
    **convolution.TABLE,
    **elementwise.TABLE,
    **indexing.TABLE,
    **linear.TABLE,
    **normalization.TABLE,
    **optionals.TABLE,
    **pooling.TABLE,
    **quantization.TABLE,
    **recurrent.TABLE,
    **reductions.TABLE,
    **resize.TABLE,
    **sampling.TABLE,
    **shaping.TABLE,
}

__all__ = ["KERNELS", "Call", "Kernel"]
