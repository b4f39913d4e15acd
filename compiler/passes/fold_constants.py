"""f(constants) = a constant, as long as it does not make the model grow.

onnxscript's folder does the work. Which nodes it may fold is decided here: a result may be larger than what it
replaces only up to a limit per node and a limit in total, and what is random or not standard stays.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from compiler.passes.declined import Declining
from compiler.passes.rewriting import is_constant
from compiler.quiet import quiet

NODE_GROWTH = 256 * 1024  # bytes that one folded node may add
TOTAL_GROWTH = 4 * 2**20  # bytes that all folded nodes together may add
SMALL = 1024  # bytes; below this a constant is no weight, and a second copy is no loss
LARGE_INPUT = 16 * 1024  # elements; work on weights above this is left to passes that know what they do

# What only puts weights together or lays them out anew, as exporters do with those of an LSTM: up to this many bytes.
_JOINING = {"Concat", "Reshape", "Squeeze", "Unsqueeze"}
JOINED = 64 * 2**20

_GROWN = "plumbline.grown_by_folding"  # on the model, so that the total holds however often this pass runs

# Small by themselves, large by what they stand for: folding one writes out what a single number says.
_KEPT = {
    "Bernoulli", "ConstantOfShape", "DequantizeLinear", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
}  # fmt: skip


class FoldConstants(Declining, ir.passes.InPlacePass):
    """Evaluates nodes whose inputs are all constant."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._left: float = TOTAL_GROWTH - model.meta.get(_GROWN, 0)
        self._unmeasured: dict[
            tuple[ir.Graph, str], float
        ] = {}  # results whose size nobody knew before, with what they freed
        # The folder writes into shapes, and puts values of its own in the place of outputs.
        outputs = [(value.type, None if value.shape is None else value.shape.copy()) for value in model.graph.outputs]
        with quiet():
            result = fold_constants(
                model, input_size_limit=LARGE_INPUT, output_size_limit=NODE_GROWTH, should_fold=self._may_fold
            )
        for value, (kind, shape) in zip(model.graph.outputs, outputs, strict=True):
            value.type, value.shape = kind, shape
        _forget_removed_users(model)
        self._measure()
        model.meta[_GROWN] = TOTAL_GROWTH - self._left
        return ir.passes.PassResult(model, bool(result.modified))

    def _may_fold(self, node: ir.Node) -> bool | None:
        """None leaves the choice to the folder's own rules; False forbids."""
        if node.op_type in _KEPT or node.domain not in ("", "ai.onnx"):
            return False
        if shared := [value for value in node.inputs if value is not None and _is_shared_weight(value)]:
            self.decline(node, f"'{shared[0].name}' has other users, and would be stored twice")
            return False
        self._measure()
        freed = sum(_freed(value) for value in node.inputs if value is not None)
        sizes = [_bytes(value) for value in node.outputs]
        if unknown := [value for value, size in zip(node.outputs, sizes, strict=True) if size is None]:
            if self._left <= 0:
                self.decline(node, "folding it would add bytes, nobody knows how many, and none are left")
                return False
            if isinstance(node.graph, ir.Graph):
                self._unmeasured |= dict.fromkeys(((node.graph, str(value.name)) for value in unknown), freed)
            return None
        growth = sum(size for size in sizes if size is not None) - freed
        if growth > NODE_GROWTH or growth > max(self._left, 0):
            self.decline(node, f"folding it would add {growth:.0f} bytes")
            return False
        self._left -= max(growth, 0)
        joins = node.op_type in _JOINING and growth <= 0 and freed <= JOINED
        return True if joins and all(value is None or is_constant(value) for value in node.inputs) else None

    def _measure(self) -> None:
        """What turned out larger than could be told is taken off the total."""
        for (graph, name), freed in list(self._unmeasured.items()):
            if (folded := graph.initializers.get(name)) is not None and folded.const_value is not None:
                self._left -= max(folded.const_value.nbytes - freed, 0)
                del self._unmeasured[graph, name]


def _forget_removed_users(model: ir.Model) -> None:
    """The folder drops nodes, and whole branches of an If, without taking them off the values that they use."""
    there = set(ir.traversal.RecursiveGraphIterator(model.graph))
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
        for value in values:
            for node, index in value.uses():
                if node not in there:
                    node.replace_input_with(index, None)


def _is_shared_weight(value: ir.Value) -> bool:
    # The size first: a small constant may have users without number.
    return value.const_value is not None and value.const_value.nbytes > SMALL and len(value.uses()) > 1


def _bytes(value: ir.Value) -> float | None:
    """The size of a result, where its shape tells."""
    if value.shape is None or value.dtype is None:
        return None
    sizes = [dim for dim in value.shape if isinstance(dim, int)]
    return math.prod(sizes) * value.dtype.itemsize if len(sizes) == len(value.shape) else None


def _freed(value: ir.Value) -> float:
    tensor = value.const_value
    return tensor.nbytes if tensor is not None and tensor.nbytes > 0 and len(value.uses()) == 1 else 0
