"""Equal initializers become one, so that tied weights are stored once.

onnx-ir's pass for this hashes every byte of every weight. Here only weights that agree in type, shape and a
sample of their elements are compared in full, which keeps the pass cheap for a model of several gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

_SAMPLES = 64

Key = tuple[ir.DataType, tuple[int, ...], bytes]


class MergeDuplicateWeights(ir.passes.InPlacePass):
    """Every user of a duplicate uses the first of its kind."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            first: dict[Key, list[ir.Value]] = {}
            for value in list(_mergeable(graph)):
                alike = first.setdefault(_key(value), [])
                same = next((other for other in alike if _equal(value, other)), None)
                if same is None:
                    alike.append(value)
                    continue
                value.replace_all_uses_with(same)
                graph.initializers.pop(str(value.name))
                modified = True
        return ir.passes.PassResult(model, modified)


def _mergeable(graph: ir.Graph) -> Iterator[ir.Value]:
    for value in graph.initializers.values():
        tensor = value.const_value
        interface = value.is_graph_input() or value.is_graph_output()
        # What is transposed when it is needed would be transposed here; those were compared before they were.
        lazy = isinstance(tensor, ir.LazyTensor)
        if tensor is not None and tensor.dtype != ir.DataType.STRING and not interface and not lazy:
            yield value


def _key(value: ir.Value) -> Key:
    assert value.const_value is not None
    flat = _bytes(value)
    sample = flat[:: max(flat.size // _SAMPLES, 1)][:_SAMPLES]
    return value.const_value.dtype, tuple(value.const_value.shape.numpy()), sample.tobytes()


def _equal(one: ir.Value, other: ir.Value) -> bool:
    """Bit by bit: 0.0 and -0.0 are not the same weight, and one NaN is as good as itself."""
    return bool(np.array_equal(_bytes(one), _bytes(other)))


def _bytes(value: ir.Value) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    assert value.const_value is not None
    return np.ascontiguousarray(value.const_value.numpy()).reshape(-1).view(np.uint8)
