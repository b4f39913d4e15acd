"""Chains of operators that work element by element, between two nodes that only move elements around."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.passes.rewriting import constant, is_op, rank

_UNARY = (
    "Relu", "Sigmoid", "Tanh", "Gelu", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Softplus", "Softsign", "HardSwish",
    "HardSigmoid", "Elu", "Selu", "Celu", "LeakyRelu", "Swish", "Mish", "Reciprocal", "Ceil", "Floor", "Round", "Sign",
    "Cast", "Not", "Sin", "Cos", "Clip", "Identity",
)  # fmt: skip
BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
_LONGEST = 16


@dataclass(frozen=True)
class Link:
    """One operator of a chain, and which of its inputs the chain comes in through."""

    node: ir.Node
    index: int


def chain(last: ir.Node, *kinds: str) -> tuple[ir.Node, list[Link]] | None:
    """The first node of these kinds above `last`, and the operators between the two, from the top down.

    Nothing else may use what is between them, or the first would stay.
    """
    links: list[Link] = []
    value = last.inputs[0]
    while value is not None and len(links) < _LONGEST and len(value.uses()) == 1 and not value.is_graph_output():
        node = value.producer()
        if node is None or node.graph is not last.graph:
            return None
        if is_op(node, *kinds):
            return (node, links[::-1]) if links else None
        link = _link(node)
        if link is None:
            return None
        links.append(link)
        value = node.inputs[link.index]
    return None


def _link(node: ir.Node) -> Link | None:
    if is_op(node, *_UNARY):
        return Link(node, 0)
    if not is_op(node, *BINARY) or len(node.inputs) != 2:
        return None
    for index in (0, 1):
        varies, other = node.inputs[index], node.inputs[1 - index]
        number = constant(other)
        if varies is not None and number is not None and number.size == 1 and number.ndim <= min(rank(varies) or 0, 1):
            return Link(node, index)
    return None
