"""Arithmetic on one value, as a polynomial in it: 0.5 * x, x * x * x, k * (x + c * x^3), in any order and grouping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.fusion import scalar
from compiler.passes.rewriting import made_by

_DEPTH = 8
_DEGREE = 6

# How near a coefficient is to the one in a definition: the digits that constants of the type are written with.
_DIGITS = {ir.DataType.DOUBLE: 1e-12, ir.DataType.FLOAT: 1e-6, ir.DataType.FLOAT16: 2e-3, ir.DataType.BFLOAT16: 1e-2}

Coefficients = dict[int, float]  # by power


@dataclass(frozen=True)
class Polynomial:
    """`x` is None for a constant; `nodes` compute it from x."""

    x: ir.Value | None
    coefficients: Coefficients
    nodes: tuple[ir.Node, ...] = ()

    def times(self, other: Polynomial) -> Polynomial | None:
        product: Coefficients = {}
        for power, one in self.coefficients.items():
            for more, two in other.coefficients.items():
                product[power + more] = product.get(power + more, 0.0) + one * two
        return self._joined(other, product)

    def plus(self, other: Polynomial) -> Polynomial | None:
        powers = self.coefficients.keys() | other.coefficients.keys()
        total = {power: self.coefficients.get(power, 0.0) + other.coefficients.get(power, 0.0) for power in powers}
        return self._joined(other, total)

    def scaled(self, number: float) -> Polynomial:
        return Polynomial(self.x, {power: one * number for power, one in self.coefficients.items()}, self.nodes)

    def through(self, node: ir.Node) -> Polynomial:
        return Polynomial(self.x, self.coefficients, (*self.nodes, node))

    def equals(self, x: ir.Value, wanted: Coefficients) -> bool:
        digits = _DIGITS.get(x.dtype or ir.DataType.FLOAT, 1e-6)
        return (
            self.x is x
            and self.coefficients.keys() == wanted.keys()
            and all(math.isclose(self.coefficients[power], wanted[power], rel_tol=digits) for power in wanted)
        )

    def _joined(self, other: Polynomial, coefficients: Coefficients) -> Polynomial | None:
        """None where the two are not in the same value."""
        if self.x is not None and other.x is not None and self.x is not other.x:
            return None
        if max(coefficients, default=0) > _DEGREE:
            return None
        return Polynomial(self.x or other.x, coefficients, (*self.nodes, *other.nodes))


def polynomial(value: ir.Value, depth: int = _DEPTH) -> Polynomial:
    """A value with several users is not looked into: it is the x of a formula, which needs it more than once."""
    number = scalar(value)
    if number is not None:
        return Polynomial(None, {0: number})
    inner = _looked_into(value, depth) if depth and len(value.uses()) == 1 else None
    return inner if inner is not None else Polynomial(value, {1: 1.0})


def _looked_into(value: ir.Value, depth: int) -> Polynomial | None:
    node = made_by(value, "Add", "Sub", "Mul", "Div", "Neg", "Pow")
    if node is None or any(operand is None for operand in node.inputs):
        return None
    parts = [polynomial(operand, depth - 1) for operand in node.inputs if operand is not None]
    result = _combined(node, parts)
    return result.through(node) if result is not None else None


def _combined(node: ir.Node, parts: list[Polynomial]) -> Polynomial | None:
    left, right = parts[0], parts[-1]
    match node.op_type:
        case "Add":
            return left.plus(right)
        case "Sub":
            return left.plus(right.scaled(-1.0))
        case "Mul":
            return left.times(right)
        case "Neg":
            return left.scaled(-1.0)
    number = right.coefficients.get(0) if right.x is None else None
    if not number:
        return None
    if node.op_type == "Div":
        return left.scaled(1 / number)
    return _power(left, number)


def _power(base: Polynomial, exponent: float) -> Polynomial | None:
    if exponent not in (2.0, 3.0):
        return None
    result: Polynomial | None = base
    for _ in range(int(exponent) - 1):
        result = result.times(Polynomial(base.x, base.coefficients)) if result is not None else None
    return result
