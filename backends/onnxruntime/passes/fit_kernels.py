"""Op[T](x) = Cast[T](Op[W](Cast[W](x))), for a wider type W that ONNX Runtime has a kernel for.

It lacks kernels for some types of many operators: Max of int16, Where of bool, CumSum of uint32. The wider type gives
the same numbers where the operator only moves values, compares them, or computes modulo a power of two. An operator
with a body in the standard is replaced by that, which the runtime itself does not always manage. What cannot be
computed in another way is refused by its name, rather than by the runtime, which knows none.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import onnx_ir as ir

from backends.onnxruntime.passes import kernels
from compiler.contracts import Legality
from compiler.ir.opsets import formal, schema_at
from compiler.ir.provenance import describe
from compiler.passes.legalize import Legalize, Refusal, refused, types_of
from compiler.passes.rewriting import LocalRewrite

# Whose results depend on the order of values only, or fit every type that holds the inputs.
_ORDERED = {
    "ArgMax", "ArgMin", "BitShift", "Clip", "Max", "Min", "NonZero", "OneHot", "Pow", "ReduceMax", "ReduceMin", "Relu",
    "TopK", "Unique",
}  # fmt: skip
# Which also hold for the bits of a number taken for another number: values are moved, or summed modulo 2 to the n.
_MODULAR = {
    "CumSum", "DepthToSpace", "Einsum", "Pad", "ReduceL1", "ReduceProd", "ReduceSum", "Trilu", "Where", "Col2Im",
}  # fmt: skip

_WIDER = {
    "bool": ("uint8", "int32", "int64"),
    "int8": ("int32", "int64"),
    "int16": ("int32", "int64"),
    "uint8": ("int32", "uint32", "int64"),
    "uint16": ("int32", "uint32", "int64"),
    "uint32": ("int64", "uint64"),
    "int32": ("int64",),
}
_NO_KERNEL = "ONNX Runtime has no kernel of it"
_OF_AS_MANY_BITS = {"uint64": ("int64",)}


class FitKernels(LocalRewrite):
    """Widens the types of nodes that the installed runtime has no kernel for."""

    def __init__(self, legality: Legality) -> None:
        super().__init__()
        self._legality = legality

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._refusals: list[Refusal] = []
        split = self._split_up(model)
        result = super().call(model)
        if self._refusals:
            raise refused("onnxruntime", self._refusals)
        return ir.passes.PassResult(model, split or result.modified)

    def _split_up(self, model: ir.Model) -> bool:
        """Bodies in place of the operators that lack a kernel and cannot be widened; whether there were any."""
        opset, refuses = model.opset_imports.get("", 0), dict(self._legality.refuses)
        modified = False
        # A body may hold others that lack a kernel; each round refuses at least one operator more.
        while lacking := {node.op_type for node in model.graph.all_nodes() if _is_split_up(node, opset)}:
            refuses.update(dict.fromkeys(lacking, _NO_KERNEL))
            Legalize(replace(self._legality, refuses=refuses), "onnxruntime")(model)
            modified = True
        return modified

    def visit(self, node: ir.Node) -> None:
        lacking = kernels.lacking(node, self.edit.opset)
        if lacking is None:
            return
        wider = _wider(node, self.edit.opset, lacking)
        if wider is not None:
            self._widen(node, lacking, {name: text for name, text in wider.items() if text != lacking[name]})
            return
        if kernels.has_body(node, self.edit.opset):
            return  # of a type that is not known here; the runtime will know it
        types = ", ".join(dict.fromkeys(lacking.values()))
        why = f"{_NO_KERNEL} for {types or 'its opset'}"
        self._refusals.append(Refusal(node.op_type, describe(node), why, types_of(node)))

    def _widen(self, node: ir.Node, narrow: kernels.Types, wider: kernels.Types) -> None:
        schema = schema_at(node, self.edit.opset)
        assert schema is not None and node.graph is not None
        for index, value in enumerate(node.inputs):
            place = formal(schema.inputs, index)
            if value is not None and place is not None and place.type_str in wider:
                dtype = _dtype(wider[place.type_str])
                cast = self.edit.insert(node, "Cast", [value], {"to": dtype}, dtype=dtype, shape=value.shape)
                node.replace_input_with(index, cast)
        for index, value in enumerate(node.outputs):
            place = formal(schema.outputs, index)
            if place is not None and place.type_str in wider and value.name:
                self._narrow(node, index, _dtype(narrow[place.type_str]), _dtype(wider[place.type_str]))

    def _narrow(self, node: ir.Node, index: int, narrow: ir.DataType, wide: ir.DataType) -> None:
        """The node's output in the wide type, and behind it the value that everyone knows."""
        old = node.outputs[index]
        self.edit.follow(node, old, "Cast", {"to": narrow}, "wide").type = ir.TensorType(narrow)
        old.type = ir.TensorType(wide)


def _is_split_up(node: ir.Node, opset: int) -> bool:
    if node.domain != "" or not kernels.has_body(node, opset):
        return False
    lacking = kernels.lacking(node, opset)
    # A body may depend on the types.
    known = all(value is None or value.dtype is not None for value in node.inputs)
    return lacking is not None and known and _wider(node, opset, lacking) is None


def _wider(node: ir.Node, opset: int, types: kernels.Types) -> kernels.Types | None:
    """Types that there is a kernel for, with the fewest changes."""
    if node.op_type not in _ORDERED | _MODULAR:
        return None
    combined = product(*(_choices(node.op_type, text) for text in types.values()))
    by_changes = sorted(combined, key=lambda texts: sum(map(str.__ne__, texts, types.values())))
    candidates = (dict(zip(types, texts, strict=True)) for texts in by_changes)
    return next((wider for wider in candidates if kernels.taken(node, opset, wider)), None)


def _choices(op_type: str, text: str) -> list[str]:
    plain = text.removeprefix("tensor(").removesuffix(")")
    wider = _WIDER.get(plain, ()) or (_OF_AS_MANY_BITS.get(plain, ()) if op_type in _MODULAR else ())
    return [text, *(f"tensor({name})" for name in wider)]


def _dtype(text: str) -> ir.DataType:
    return ir.DataType[text.removeprefix("tensor(").removesuffix(")").upper()]
