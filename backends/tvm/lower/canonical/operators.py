"""Relax operators by what a change of layout means to them."""

from __future__ import annotations

from tvm import relax

from backends.tvm.lower.relax_tools import op_name, shape_of

# One result for each element of the first operand, without a look at the others.
UNARY = frozenset(
    f"relax.{name}"
    for name in (
        "abs", "acos", "acosh", "asin", "asinh", "astype", "atan", "atanh", "bitwise_not", "ceil", "clip", "cos",
        "cosh", "erf", "exp", "floor", "isfinite", "isinf", "isnan", "log", "logical_not", "negative", "nn.gelu",
        "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.relu6", "nn.selu", "nn.silu", "nn.softplus", "round", "rsqrt",
        "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
    )
)  # fmt: skip

# One result for each element of operands that are broadcast against each other.
ELEMENTWISE = frozenset(
    f"relax.{name}"
    for name in (
        "add", "bitwise_and", "bitwise_or", "divide", "equal", "floor_divide", "greater", "greater_equal", "less",
        "less_equal", "logical_and", "logical_or", "maximum", "minimum", "mod", "multiply", "not_equal", "power",
        "subtract", "where",
    )
)  # fmt: skip

# The same, where the other operands are one number each.
QUANTIZING = frozenset({"relax.dequantize", "relax.quantize"})

REDUCTIONS = frozenset(f"relax.{name}" for name in ("max", "mean", "min", "prod", "sum", "std", "variance"))


def is_unary(call: relax.Call) -> bool:
    name = op_name(call)
    return name in UNARY or (
        name in QUANTIZING and all(extent == 1 for operand in call.args[1:] for extent in shape_of(operand))
    )
