"""Functions of one float32 number, as vector code instead of a call into libm for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te

from backends.tvm.lower import vector_math
from backends.tvm.lower.kernels.call import DeclinedError, Kernel, Lowering
from backends.tvm.lower.relax_tools import dtype_of, is_float32


def unary(name: str, function: Callable[[Any], Any]) -> Kernel:
    def kernel(at: Lowering, call: relax.Call) -> relax.Expr:
        (x,) = call.args
        if not is_float32(x):
            raise DeclinedError(f"{dtype_of(x)} is not float32")

        def compute(a: te.Tensor) -> te.Tensor:
            return te.compute(a.shape, lambda *i: function(a(*i)), name=name)

        return at.call(compute, x, name=name, pattern=None)

    return kernel


def clip(at: Lowering, call: relax.Call) -> relax.Expr:
    x, low, high = call.args
    if not is_float32(x):
        raise DeclinedError(f"{dtype_of(x)} is not float32")
    if not all(hasattr(bound, "value") for bound in (low, high)):
        raise DeclinedError("its bounds are not constant")
    least, most = float(low.value), float(high.value)

    def compute(a: te.Tensor) -> te.Tensor:
        # First the lower bound, as in ONNX: where the bounds cross, the upper one wins.
        return te.compute(
            a.shape, lambda *i: vector_math.at_most(vector_math.at_least(a(*i), least), most), name="clip"
        )

    return at.call(compute, x, name="clip", pattern=None)


UNARY: dict[str, Kernel] = {
    f"relax.{name}": unary(name.removeprefix("nn."), function)
    for name, function in {
        "exp": vector_math.exp,
        "erf": vector_math.erf,
        "tanh": vector_math.tanh,
        "sigmoid": vector_math.sigmoid,
        "nn.gelu": vector_math.gelu,
        "nn.gelu_tanh": vector_math.gelu_tanh,
        "nn.silu": vector_math.silu,
        "nn.relu": lambda x: vector_math.at_least(x, 0.0),
    }.items()
}
ELEMENTWISE: dict[str, Kernel] = {**UNARY, "relax.clip": clip}
