"""f(p(x)) with a factor in x around it: what the activation functions have in common."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.fusion import FLOATS, hold, other, user_of
from compiler.passes.polynomials import Coefficients, Polynomial, polynomial

_STEPS = 4


@dataclass(frozen=True)
class Argument:
    """What a function is applied to: a polynomial in x."""

    x: ir.Value
    polynomial: Polynomial

    def equals(self, wanted: Coefficients) -> bool:
        return self.polynomial.equals(self.x, wanted)


def argument(node: ir.Node) -> Argument | None:
    value = node.inputs[0]
    found = polynomial(value) if value is not None else None
    if found is None or found.x is None:
        return None
    return Argument(found.x, found)


def multiplied(value: ir.Value, x: ir.Value, wanted: Coefficients) -> tuple[ir.Node, ...] | None:
    """The nodes from a value to its product with this polynomial in x, however that is ordered."""
    total = Polynomial(None, {0: 1.0})
    for _ in range(_STEPS):
        node = user_of(value, "Mul", "Div")
        if node is None:
            return None
        factor = _factor(node, value)
        product = total.times(factor) if factor is not None else None
        if product is None or product.x not in (None, x):
            return None
        total, value = product.through(node), node.outputs[0]
        if total.equals(x, wanted):
            hold(x.dtype in FLOATS, f"'{x.name}' is not known to be a float")
            return total.nodes
    return None


def _factor(node: ir.Node, value: ir.Value) -> Polynomial | None:
    if node.op_type == "Mul":
        beside = other(node, value)
        return polynomial(beside) if beside is not None else None
    divisor = node.inputs[1]
    found = polynomial(divisor) if divisor is not None and node.inputs[0] is value else None
    if found is None or found.x is not None or not found.coefficients.get(0):
        return None
    return Polynomial(None, {0: 1 / found.coefficients[0]})
