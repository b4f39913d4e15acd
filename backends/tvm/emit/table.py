"""The one table of operators."""

from __future__ import annotations

from backends.tvm.emit import (
    activations,
    attention,
    control,
    convolution,
    counted,
    einsum,
    elementwise,
    fourier,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resize,
    sampling,
    shaping,
    slicing,
)
from backends.tvm.emit.op import Emit

_FAMILIES = (
    activations.EMIT,
    attention.EMIT,
    control.EMIT,
    convolution.EMIT,
    counted.EMIT,
    einsum.EMIT,
    elementwise.EMIT,
    fourier.EMIT,
    indexing.EMIT,
    linear.EMIT,
    normalization.EMIT,
    pooling.EMIT,
    quantization.EMIT,
    recurrent.EMIT,
    reductions.EMIT,
    resize.EMIT,
    sampling.EMIT,
    shaping.EMIT,
    slicing.EMIT,
)


def table() -> dict[str, Emit]:
    """Operator -> the function that emits it; `Constant` needs none."""
    merged: dict[str, Emit] = {}
    for family in _FAMILIES:
        assert not merged.keys() & family.keys(), "an operator has two emitters"
        merged |= family
    return merged
