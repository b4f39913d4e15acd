"""Functions of one float32 number, as vector code instead of a call into libm for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te

from backends.tvm.lower import vector_math
from backends.tvm.lower.kernels.call import Decline, Kernel, Lowering
from backends.tvm.lower.relax_tools import dtype_of, is_float32


def unary(name: str, function: Callable[[Any], Any]) -> Kernel:
    def kernel(at: Lowering, call: relax.Call) -> relax.Expr:
        (x,) = call.args
        if not is_float32(x):
            raise Decline(f"{dtype_of(x)} is not float32")

        def compute(a: te.Tensor) -> te.Tensor:
            return te.compute(a.shape, lambda *i: function(a(*i)), name=name)

        return at.call(compute, x, name=name, pattern=None)

    return kernel


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
    }.items()
}
