"""softmax(s + where(m, 0, lowest)), guarded by where(isnan(p), 0, p): the lowest number stands where -inf was meant.

torch's exporter writes scaled_dot_product_attention with a boolean mask so, at opsets below 23. PyTorch gives 0 for a
query that may look nowhere. A row of -inf would give NaN, which the guard turns into that 0; but a row of the lowest
number gives equal weights, no NaN, and the mean of the values. The guard has no other purpose, so it says what is
meant: here the mask becomes -inf.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compiler.ir.provenance import inherit


def restore_masked_rows(model: ir.Model) -> list[ir.Node]:
    """The masks that were put right, in place."""
    restored: dict[ir.Node, ir.Node] = {}
    for graph in model.graphs():
        for node in tuple(graph):
            total = _guarded_sum(node)
            for place, mask in _masks(total):
                if mask not in restored:
                    restored[mask] = _with_infinity(mask)
                assert total is not None
                total.replace_input_with(place, restored[mask].outputs[0])
    return list(restored.values())


def _guarded_sum(guard: ir.Node) -> ir.Node | None:
    """What goes into the Softmax that a Where guards against NaN."""
    if not _is(guard, "Where") or not _holds(guard.inputs[1], 0.0):
        return None
    test, softmax = _maker(guard.inputs[0], "IsNaN"), _maker(guard.inputs[2], "Softmax")
    if test is None or softmax is None or test.inputs[0] is not softmax.outputs[0]:
        return None
    return _maker(softmax.inputs[0], "Add")


def _masks(total: ir.Node | None) -> Iterator[tuple[int, ir.Node]]:
    for place, value in enumerate(total.inputs if total is not None else ()):
        mask = _maker(value, "Where")
        if mask is not None and _holds(mask.inputs[1], 0.0) and _is_lowest(mask.inputs[2]):
            yield place, mask


def _with_infinity(mask: ir.Node) -> ir.Node:
    """Beside the old mask, which others may use."""
    lowest, result = _number(mask.inputs[2]), mask.outputs[0]
    assert lowest is not None and mask.graph is not None
    infinity = ir.Tensor(np.array(-np.inf, lowest.dtype.numpy()), dtype=lowest.dtype)
    constant = ir.node("Constant", [], {"value": infinity}, name=f"{mask.name}_infinity")
    restored = ir.node("Where", [*mask.inputs[:2], constant.outputs[0]], name=f"{mask.name}_restored")
    constant.outputs[0].name, restored.outputs[0].name = f"{result.name}_infinity", f"{result.name}_restored"
    constant.outputs[0].type, constant.outputs[0].shape = ir.TensorType(lowest.dtype), ir.Shape([])
    restored.outputs[0].type, restored.outputs[0].shape = result.type, result.shape
    inherit([constant, restored], [mask])
    mask.graph.insert_after(mask, [constant, restored])
    return restored


def _maker(value: ir.Value | None, operator: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and _is(node, operator) else None


def _is(node: ir.Node, operator: str) -> bool:
    return node.op_type == operator and node.domain in ("", "ai.onnx")


def _number(value: ir.Value | None) -> ir.TensorProtocol | None:
    """A constant of one element."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None and not value.is_graph_input() else None
    return tensor if tensor is not None and tensor.size == 1 else None


def _holds(value: ir.Value | None, number: float) -> bool:
    tensor = _number(value)
    return tensor is not None and float(tensor.numpy().reshape(-1)[0]) == number


def _is_lowest(value: ir.Value | None) -> bool:
    tensor = _number(value)
    return tensor is not None and tensor.dtype.is_floating_point() and _holds(value, float(tensor.dtype.min))
