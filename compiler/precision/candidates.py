"""The nodes that hold most of a model's weights, and do most of its work."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.provenance import provenance
from compiler.passes.rewriting import constant, is_op
from compiler.precision.recipe import Name, Recipe


@dataclass(frozen=True)
class Candidate:
    """A node that sums products of an activation, its first input, with constant weights, its second one."""

    node: ir.Node
    channel: int  # the axis of the weights along which its outputs lie
    summed: int  # the axis along which is summed; of a convolution the one that holds the input's channels

    @property
    def data(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def weights(self) -> ir.Value:
        value = self.node.inputs[1]
        assert value is not None
        return value

    @property
    def bias(self) -> ir.Value | None:
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    @property
    def array(self) -> Array:
        found = constant(self.weights)
        assert found is not None
        return found


def candidates(model: ir.Model) -> Iterator[Candidate]:
    """In the order in which they are computed; what is inside of a loop or a branch is left alone."""
    for node in model.graph:
        axes = _axes(node)
        if axes is not None:
            yield Candidate(node, *axes)


def _axes(node: ir.Node) -> tuple[int, int] | None:
    weights = node.inputs[1] if len(node.inputs) > 1 else None
    if weights is None or constant(weights) is None or weights.dtype is not ir.DataType.FLOAT:
        return None
    if is_op(node, "MatMul"):
        return (1, 0) if weights.shape is not None and len(weights.shape) == 2 else None
    if is_op(node, "Gemm") and not node.attributes.get_int("transA", 0):
        return (0, 1) if node.attributes.get_int("transB", 0) else (1, 0)
    if is_op(node, "Conv"):
        return 0, 1
    return None


def own_precision(node: ir.Node, recipe: Recipe) -> Name | None:
    """What the user wants this one to be in, whatever the others get."""
    if is_kept(node, recipe.keep):
        return "float32"
    return next((name for pattern, name in recipe.own if is_kept(node, [pattern])), None)


def is_kept(node: ir.Node, patterns: Sequence[str]) -> bool:
    """Whether the user wants this one left as it is: by its name, or by that of the module it comes from."""
    origin = provenance(node)
    names = [node.name or "", origin.module if origin is not None else ""]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names if name for pattern in patterns)
