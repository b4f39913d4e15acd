"""f(x) and f(x) are one value: equal operators with equal attributes on the same values are computed once.

onnx-ir's pass for this looks at the main graph only, takes two draws of Bernoulli and two masks of Dropout for one,
-0.0 in an attribute for 0.0, and loses where the second node came from.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from compiler.ir.provenance import inherit
from compiler.ir.subgraphs import subgraphs_of
from compiler.passes.rewriting import LocalRewrite, constant, input_of

_DRAWS = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
_ATTRIBUTE_BYTES = 4096  # a larger tensor in an attribute is not worth comparing
_ORIGINS = 8  # how many origins the node that stays takes over; thousands of equal nodes would say nothing


class MergeCommonSubexpressions(LocalRewrite):
    """The first of its kind stays. Two that are both outputs stay two."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[Hashable, ir.Node] = {}
        self._merged: dict[ir.Node, list[ir.Node]] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._merged = {}
        result = super().call(model)
        for first, others in self._merged.items():
            inherit([first], others[:_ORIGINS])
        self._seen, self._merged = {}, {}
        return result

    def enter(self, graph: ir.Graph) -> None:
        self._seen = {}

    def visit(self, node: ir.Node) -> None:
        key = _key(node)
        if key is None:
            return
        first = self._seen.setdefault(key, node)
        if first is node:
            return
        if any(value.is_graph_output() for value in node.outputs):
            self._keep_the_output(node, first)
            return
        for old, new in zip(node.outputs, first.outputs, strict=True):
            new.type, new.shape = new.type or old.type, new.shape or old.shape
            new.name = new.name or old.name
            old.replace_all_uses_with(new)
        self._merged.setdefault(first, []).append(node)
        self.edit.remove(node)

    def _keep_the_output(self, node: ir.Node, first: ir.Node) -> None:
        """The name of an output stays: with an Identity, which another pass takes away where it can."""
        if len(node.outputs) == 1:
            self.edit.bypass(node, first.outputs[0])
        else:
            self.decline(node, "one of its results is an output of the graph")


def _key(node: ir.Node) -> Hashable | None:
    if node.op_type in _DRAWS or node.op_type == "Identity" or not node.outputs or any(subgraphs_of(node)):
        return None
    if node.op_type == "Dropout" and constant(input_of(node, 2)) is None and input_of(node, 2) is not None:
        return None
    attributes = []
    for name, attr in sorted(node.attributes.items()):
        content = _content(attr)
        if content is None:
            return None
        attributes.append((name, attr.type, content))
    inputs = [None if value is None else id(value) for value in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    wanted = tuple(value.name == "" for value in node.outputs)
    return node.op_identifier(), tuple(inputs), tuple(attributes), wanted


def _content(attr: ir.Attr) -> Hashable | None:
    if attr.is_ref():
        return attr.ref_attr_name
    if attr.type is ir.AttributeType.TENSOR:
        tensor = attr.as_tensor()
        return (tensor.dtype, tuple(tensor.shape), tensor.tobytes()) if tensor.nbytes <= _ATTRIBUTE_BYTES else None
    if attr.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
        return repr(attr.value)  # tells -0.0 from 0.0, and finds NaN equal to itself
    value = attr.value
    return tuple(value) if isinstance(value, (list, tuple)) else value if isinstance(value, Hashable) else None
