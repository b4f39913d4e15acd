"""Which kernel takes which Relax operator. What is not listed, or declined, takes the plain way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import ir, relax

from backends.tvm.lower.kernels import attention, conv, matmul, pool, rows
from backends.tvm.lower.kernels.call import DeclinedError, Kernel, Lowering, call_in_words
from backends.tvm.lower.kernels.elementwise import ELEMENTWISE
from backends.tvm.lower.kernels.integer_conv import integer_conv
from backends.tvm.lower.kernels.integer_matmul import integer_matmul, is_integer
from backends.tvm.lower.plain import OWN


def _or_integer(usual: Kernel, integer: Kernel) -> Kernel:
    return lambda at, call: integer(at, call) if is_integer(call) else usual(at, call)


_conv = _or_integer(conv.conv, integer_conv)


KERNELS: dict[str, Kernel] = {
    "relax.matmul": _or_integer(matmul.matmul, integer_matmul),
    "relax.nn.attention": attention.attention,
    "relax.nn.attention_bias": attention.attention,
    "relax.nn.conv1d": _conv,
    "relax.nn.conv2d": _conv,
    "relax.nn.conv3d": _conv,
    "relax.nn.layer_norm": rows.layer_norm,
    "relax.nn.max_pool1d": pool.max_pool,
    "relax.nn.max_pool2d": pool.max_pool,
    "relax.nn.max_pool3d": pool.max_pool,
    "relax.nn.rms_norm": rows.rms_norm,
    "relax.max": rows.reduced(rows.LARGEST),
    "relax.mean": rows.reduced(rows.SUM, mean=True),
    "relax.min": rows.reduced(rows.SMALLEST),
    "relax.nn.log_softmax": rows.log_softmax,
    "relax.nn.softmax": rows.softmax,
    "relax.sum": rows.reduced(rows.SUM),
    **ELEMENTWISE,
}


def legalization(at: Lowering) -> dict[str, Callable[[relax.BlockBuilder, relax.Call], relax.Expr]]:
    """The table in the form that LegalizeOps takes."""
    return {**OWN, **{name: _legalize(at, name, kernel) for name, kernel in KERNELS.items()}}


def _legalize(at: Lowering, name: str, kernel: Kernel) -> Callable[[relax.BlockBuilder, relax.Call], relax.Expr]:
    standard: Any = OWN.get(name) or ir.Op.get(name).get_attr("FLegalize")

    def lowered(bb: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        at.bb = bb
        try:
            return kernel(at, call)
        except DeclinedError as reason:
            at.explain.decline(call_in_words(call), str(reason))
            return standard(bb, call)

    return lowered
