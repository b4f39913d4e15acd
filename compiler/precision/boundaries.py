"""Roundings that might have gone the other way: a number that lies on the boundary between two codes.

Two honest runtimes may round it to different codes, and everything after it differs by what a code is worth. So the
graph is computed again with everything that is rounded a little larger, and a little smaller. What that changes belongs
to the graph's own rounding.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array, Arrays, Check
from compiler.ir.evaluate import Evaluator
from compiler.passes.rewriting import Edit, is_op

WIDTH = 2.0**-19  # 16 roundings of float32: what sums before it may be off


class Boundaries:
    """The answers of a graph, with what lies on a boundary on one side of it or the other."""

    def __init__(self, graph: ir.Model) -> None:
        rounds = any(is_op(node, "QuantizeLinear") for node in graph.graph)
        self._sides = [_moved(graph, factor) for factor in (1 + WIDTH, 1 - WIDTH)] if rounds else []

    def shaken(self, inputs: Arrays, oracle: Arrays) -> dict[str, Array] | None:
        """Of each element the answer that is farther from the oracle's; None where nothing is rounded to codes."""
        if not self._sides:
            return None
        one, other = (side(inputs) for side in self._sides)
        return {name: _farther(one[name], other[name], wanted) for name, wanted in oracle.items()}


def _moved(graph: ir.Model, factor: float) -> Check:
    moved = graph.clone()
    edit = Edit(moved)
    for node in list(moved.graph):
        value = node.inputs[0] if is_op(node, "QuantizeLinear") else None
        if value is not None:
            scaled = edit.insert(
                node, "Mul", [value, edit.constant(np.asarray(factor, np.float64), value)], dtype=value.dtype
            )
            node.replace_input_with(0, scaled)
    return Evaluator(moved, precise=True)


def _farther(one: Array, other: Array, wanted: Array) -> Array:
    if wanted.dtype.kind != "f":
        return wanted
    return np.asarray(np.where(np.abs(one - wanted) >= np.abs(other - wanted), one, other))
