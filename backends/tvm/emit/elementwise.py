"""Operators that work on each element by itself.

Where Relax has the operator it is used, so that layouts can move through it. Where Relax has none, or its stock
lowering computes something else for NaN, ties or negative integers, the element's formula stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import ir as tvm_ir
from tvm import relax, te, tirx

from backends.tvm.emit.hyperbolic import cosh, sinh
from backends.tvm.emit.op import Emit, Op, Result

Formula = Callable[..., Any]  # of the elements, one for each input


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def number(value: float, like: Any) -> Any:
    return tirx.const(value, like.ty.dtype)


def elementwise(formula: Formula, *, wide: bool = True) -> Emit:
    """A kernel that computes `formula(op, *elements)`, with broadcasting. float16 is computed in float32 if `wide`."""

    def emit(op: Op) -> Result:
        return broadcast(op, lambda *elements: formula(op, *elements), *op.tensors(), wide=wide)

    return emit


def broadcast(op: Op, formula: Formula, *inputs: relax.Expr, wide: bool = True, name: str | None = None) -> relax.Var:
    result = op.output_dtype()

    def compute(*tensors: te.Tensor) -> te.Tensor:
        shape = tensors[0].shape
        for tensor in tensors[1:]:
            shape = _broadcast_shape(shape, tensor.shape, op)

        def element(*index: Any) -> Any:
            values = [_at(tensor, index, op) for tensor in tensors]
            if wide:
                values = [value.astype("float32") if _is_half(value) else value for value in values]
            made = formula(*values)
            return made if str(made.ty.dtype) == result else made.astype(result)

        return te.compute(shape, element, name="T_" + (name or op.type.lower()))

    return op.te(compute, *inputs, name=name)


def _is_half(value: Any) -> bool:
    return str(value.ty.dtype) in ("float16", "bfloat16")


def _broadcast_shape(one: Any, other: Any, op: Op) -> list[Any]:
    longer, shorter = (list(one), list(other)) if len(one) >= len(other) else (list(other), list(one))
    shape = longer[: len(longer) - len(shorter)]
    for a, b in zip(longer[len(shape) :], shorter, strict=True):
        shape.append(b if _is_one(a) else a)
    return shape


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1


def _at(tensor: te.Tensor, index: Any, op: Op) -> Any:
    own = index[len(index) - len(tensor.shape) :]
    return tensor(*(0 if _is_one(extent) else i for i, extent in zip(own, tensor.shape, strict=True)))


def is_nan(x: Any) -> Any:
    """Not `x != x`, which TVM's simplifier takes for false."""
    return tirx.isnan(x) if is_float(str(x.ty.dtype)) else tirx.const(False, "bool")


def maximum(a: Any, b: Any) -> Any:
    """NaN in either gives NaN."""
    if not is_float(str(a.ty.dtype)):
        return tirx.max(a, b)
    return tirx.Select(tirx.any(a > b, is_nan(a)), a, b)


def minimum(a: Any, b: Any) -> Any:
    if not is_float(str(a.ty.dtype)):
        return tirx.min(a, b)
    return tirx.Select(tirx.any(a < b, is_nan(a)), a, b)


# -- one input --------------------------------------------------------------------------------------------------


def relax_unary(make: Callable[[relax.Expr], relax.Expr]) -> Emit:
    """float16 goes through float32: TVM's lowering of transcendental functions has only that."""

    def emit(op: Op) -> Result:
        if op.dtype() in ("float16", "bfloat16"):
            wide = op.emit(make(op.emit(relax.op.astype(op.x(), "float32"))))
            return relax.op.astype(wide, op.dtype())
        return make(op.x())

    return emit


def _sign(op: Op, x: Any) -> Any:
    zero = number(0, x)
    sign = tirx.Select(x > zero, number(1, x), tirx.Select(x < zero, number(-1, x), zero))
    return tirx.Select(is_nan(x), x, sign) if is_float(str(x.ty.dtype)) else sign


def _is_inf(op: Op, x: Any) -> Any:
    positive = tirx.EQ(x, number(math.inf, x)) if op.attr("detect_positive", 1) else tirx.const(False, "bool")
    negative = tirx.EQ(x, number(-math.inf, x)) if op.attr("detect_negative", 1) else tirx.const(False, "bool")
    return tirx.any(positive, negative)


def _absolute(op: Op, x: Any) -> Any:
    dtype = str(x.ty.dtype)
    if dtype.startswith("uint"):
        return x
    return tirx.abs(x) if is_float(dtype) else tirx.Select(x < number(0, x), -x, x)


def _clip(op: Op) -> Result:
    low, high = _bound(op, "min", 1), _bound(op, "max", 2)
    if is_float(op.dtype()) and all(bound is None or isinstance(bound, tvm_ir.GenericConst) for bound in (low, high)):
        numbers = [None if bound is None else float(bound.value.numpy().item()) for bound in (low, high)]
        if not any(bound is not None and math.isnan(bound) for bound in numbers):
            least, most = numbers
            return relax.op.clip(op.x(), -math.inf if least is None else least, math.inf if most is None else most)
    result = op.x()
    if low is not None:
        result = broadcast(op, maximum, result, low, wide=False)
    if high is not None:
        result = broadcast(op, minimum, result, high, wide=False)
    return result


def _bound(op: Op, name: str, place: int) -> relax.Expr | None:
    if name in op.node.attributes:
        return op.const(op.attr(name), op.dtype())
    return op.x(place) if op.has(place) else None


def _cast(op: Op) -> Result:
    source, wanted = op.dtype(), op.output_dtype()
    if source == wanted:
        return op.x()
    if wanted == "bool":
        return broadcast(op, lambda x: tirx.NE(x, number(0, x)), op.x(), wide=False)
    if is_float(source) and wanted.startswith("uint"):
        # Through int64: a negative number wraps round, as C and ONNX Runtime do it, and is not undefined.
        through = op.emit(relax.op.astype(op.x(), "int64"))
        return relax.op.astype(through, wanted)
    return relax.op.astype(op.x(), wanted)


def _dropout(op: Op) -> Result:
    if not op.wants(1):
        return op.x()
    mask = relax.op.full(op.x().ty.shape, relax.const(True, "bool"), "bool")
    return [op.x(), op.emit(mask)]


# -- two inputs -------------------------------------------------------------------------------------------------


def _relax_binary(make: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Emit:
    return lambda op: make(op.x(0), op.x(1))


def _divide(op: Op) -> Result:
    if is_float(op.dtype()):
        return relax.op.divide(op.x(0), op.x(1))
    signed = op.dtype().startswith("int")

    def quotient(a: Any, b: Any) -> Any:
        # The processor traps on both of these.
        safe = tirx.Select(tirx.EQ(b, number(0, b)), number(1, b), b)
        if not signed:
            return tirx.truncdiv(a, safe)
        negated = tirx.EQ(b, number(-1, b))
        safe = tirx.Select(negated, number(1, b), safe)
        return tirx.Select(negated, number(0, a) - a, tirx.truncdiv(a, safe))

    return broadcast(op, quotient, *op.tensors())


def _modulo(op: Op) -> Result:
    signed, like_c = op.dtype().startswith("int"), bool(op.attr("fmod", 0))
    if is_float(op.dtype()):
        return broadcast(op, _float_remainder if like_c else _float_modulo, *op.tensors())

    def remainder(a: Any, b: Any) -> Any:
        zero = number(0, b)
        trapping = tirx.EQ(b, zero)
        if signed:
            trapping = tirx.any(trapping, tirx.EQ(b, number(-1, b)))
        safe = tirx.Select(trapping, number(1, b), b)
        rest = tirx.truncmod(a, safe)
        if like_c or not signed:
            return rest
        return tirx.Select(
            tirx.all(
                tirx.NE(rest, zero),
                tirx.EQ((rest < zero).astype("int8") + (safe < zero).astype("int8"), tirx.const(1, "int8")),
            ),
            rest + safe,
            rest,
        )

    return broadcast(op, remainder, *op.tensors())


def _float_remainder(a: Any, b: Any) -> Any:
    """The C library's: TVM's own has no code for the CPU, and a - trunc(a / b) * b is not exact."""
    dtype = str(a.ty.dtype)
    return tirx.call_pure_extern(dtype, "fmod" if dtype == "float64" else "fmodf", a, b)


def _float_modulo(a: Any, b: Any) -> Any:
    """The remainder with the sign of the divisor."""
    rest, zero = _float_remainder(a, b), number(0, b)
    other_side = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    return tirx.Select(other_side, rest + b, rest)


def _power(op: Op) -> Result:
    exponent = op.constant(1)
    if exponent is not None and exponent.size == 1 and exponent.ndim <= op.rank(0):
        x, times = op.x(0), float(exponent.item())
        shaped = exponent.ndim == 0 or all(size == 1 for size in exponent.shape)
        if shaped and times in (1.0, 2.0, 3.0):
            square = op.emit(relax.op.multiply(x, x)) if times > 1 else x
            return op.emit(relax.op.multiply(square, x)) if times == 3.0 else square
    if is_float(op.dtype(0)):
        return broadcast(op, lambda a, b: tirx.pow(a, b.astype(a.ty.dtype)), *op.tensors())
    # Whole numbers up to 2**53 are exact in float64.
    return broadcast(op, lambda a, b: tirx.pow(a.astype("float64"), b.astype("float64")), *op.tensors())


def _chained(combine: Formula) -> Emit:
    """Max, Min, Sum and Mean take any number of inputs."""

    def emit(op: Op) -> Result:
        def folded(*elements: Any) -> Any:
            total = elements[0]
            for element in elements[1:]:
                total = combine(total, element)
            return total / number(len(elements), total) if op.type == "Mean" else total

        return broadcast(op, folded, *op.tensors()) if len(op.node.inputs) > 1 else op.x()

    return emit


def _shift(op: Op, a: Any, b: Any) -> Any:
    bits = number(int(str(a.ty.dtype).lstrip("uint")), b)
    shifted = tirx.shift_left(a, b) if op.attr("direction") == "LEFT" else tirx.shift_right(a, b)
    return tirx.Select(b < bits, shifted, number(0, a))


def _where(op: Op) -> Result:
    return relax.op.where(op.x(0), op.x(1), op.x(2))


def _comparison(formula: Formula) -> Emit:
    """LLVM's code generator in TVM compares truth values as if they were floats; they are compared as numbers."""

    def compared(op: Op, a: Any, b: Any) -> Any:
        if str(a.ty.dtype) == "bool":
            a, b = a.astype("int8"), b.astype("int8")
        return formula(a, b)

    return elementwise(compared, wide=False)


def _logical(make: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Emit:
    return lambda op: make(op.x(0), op.x(1))


def _round(op: Op, x: Any) -> Any:
    return tirx.nearbyint(x)  # ties go to the even number


def float_unary(formula: Callable[[Any], Any]) -> Emit:
    return elementwise(lambda op, x: formula(x))


def _tan(x: Any) -> Any:
    return tirx.sin(x) / tirx.cos(x)


EMIT: dict[str, Emit] = {
    "Abs": elementwise(_absolute, wide=False),
    "Acos": float_unary(tirx.acos),
    "Acosh": float_unary(tirx.acosh),
    "Add": _relax_binary(relax.op.add),
    "And": _logical(relax.op.logical_and),
    "Asin": float_unary(tirx.asin),
    "Asinh": float_unary(tirx.asinh),
    "Atan": float_unary(tirx.atan),
    "Atanh": float_unary(tirx.atanh),
    "BitShift": elementwise(_shift),
    "BitwiseAnd": _logical(relax.op.bitwise_and),
    "BitwiseNot": lambda op: relax.op.bitwise_not(op.x()),
    "BitwiseOr": _logical(relax.op.bitwise_or),
    "BitwiseXor": _logical(relax.op.bitwise_xor),
    "Cast": _cast,
    "CastLike": _cast,
    "Ceil": float_unary(tirx.ceil),
    "Clip": _clip,
    "Cos": float_unary(tirx.cos),
    "Cosh": float_unary(cosh),
    "Div": _divide,
    "Dropout": _dropout,
    "Equal": _comparison(tirx.EQ),
    "Erf": relax_unary(relax.op.erf),
    "Exp": relax_unary(relax.op.exp),
    "Floor": float_unary(tirx.floor),
    "Greater": _comparison(lambda a, b: a > b),
    "GreaterOrEqual": _comparison(lambda a, b: a >= b),
    "Identity": lambda op: op.x(),
    "IsInf": elementwise(_is_inf, wide=False),
    "IsNaN": elementwise(lambda op, x: is_nan(x), wide=False),
    "Less": _comparison(lambda a, b: a < b),
    "LessOrEqual": _comparison(lambda a, b: a <= b),
    "Log": relax_unary(relax.op.log),
    "Max": _chained(maximum),
    "Mean": _chained(lambda a, b: a + b),
    "Min": _chained(minimum),
    "Mod": _modulo,
    "Mul": _relax_binary(relax.op.multiply),
    "Neg": lambda op: relax.op.negative(op.x()),
    "Not": lambda op: relax.op.logical_not(op.x()),
    "Or": _logical(relax.op.logical_or),
    "Pow": _power,
    "Reciprocal": float_unary(lambda x: number(1, x) / x),
    "Round": elementwise(_round),
    "Sign": elementwise(_sign, wide=False),
    "Sin": float_unary(tirx.sin),
    "Sinh": float_unary(sinh),
    "Sqrt": relax_unary(relax.op.sqrt),
    "Sub": _relax_binary(relax.op.subtract),
    "Sum": _chained(lambda a, b: a + b),
    "Tan": float_unary(_tan),
    "Where": _where,
    "Xor": _logical(relax.op.logical_xor),
}
