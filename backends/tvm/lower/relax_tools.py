"""Looking at Relax expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import ir, relax, tirx
from tvm.sym import Analyzer

Extent = Any  # an int, or a tirx.PrimExpr that is known when the model runs


def op_name(expr: Any) -> str | None:
    return expr.op.name if isinstance(expr, relax.Call) and hasattr(expr.op, "name") else None


def fixed(value: Any) -> Extent:
    """A Python int where the value is known."""
    if isinstance(value, int):
        return value
    value = Analyzer().simplify(value)
    return int(value) if isinstance(value, tirx.IntImm) else value


def known(value: Extent | None) -> int | None:
    return value if isinstance(value, int) else None


def shape_of(expr: relax.Expr) -> list[Extent]:
    return [fixed(extent) for extent in expr.ty.shape]


def has_shape(expr: relax.Expr) -> bool:
    return isinstance(expr.ty, relax.TensorType) and expr.ty.shape is not None and hasattr(expr.ty.shape, "values")


def dtype_of(expr: relax.Expr) -> str:
    return str(expr.ty.dtype)


def is_float32(*exprs: relax.Expr) -> bool:
    return all(dtype_of(expr) == "float32" for expr in exprs)


def is_constant(expr: relax.Expr) -> bool:
    return isinstance(expr, ir.GenericConst)


def constant(expr: relax.Expr) -> np.ndarray[Any, Any] | None:
    """What a constant holds, as a view: `.numpy()` would copy it at every look."""
    return np.from_dlpack(expr.value) if is_constant(expr) else None


def same_extent(a: Extent, b: Extent) -> bool:
    return a == b if isinstance(a, int) and isinstance(b, int) else bool(Analyzer().can_prove_equal(a, b))


def same_shape(a: list[Extent], b: list[Extent]) -> bool:
    return len(a) == len(b) and all(same_extent(x, y) for x, y in zip(a, b, strict=True))
