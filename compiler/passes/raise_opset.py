"""A graph of an older opset = the same graph at the hub's: what became an input was an attribute.

Only then are the operators there that the fusions find again. All of a graph moves or nothing does: where one node
would come to mean something else, the graph stays at its opset, and the reason is told. onnx's own converter loses
where nodes come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.ir.opsets import difference, schema_at
from compiler.passes.declined import Declining
from compiler.passes.rewriting import Edit, graphs, input_of, rank

HUB_OPSET = 24
_OLDEST = 11  # below, too much changed its meaning without a word


@dataclass(frozen=True)
class _Renewal:
    """What makes a node mean the same again."""

    drop: str = ""
    place: int = 0  # of a new input
    array: Array | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class RaiseOpset(Declining, ir.passes.InPlacePass):
    """Models of several functions keep theirs at their own opsets."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        written = model.opset_imports.get("", HUB_OPSET)
        if not _OLDEST <= written < HUB_OPSET:
            return ir.passes.PassResult(model, False)
        nodes = [node for graph in graphs(model) for node in graph if node.domain == ""]
        renewals = [(node, self._renewal(node, written)) for node in nodes]
        found = [(node, renewal) for node, renewal in renewals if isinstance(renewal, _Renewal)]
        if len(found) < len(nodes):
            return ir.passes.PassResult(model, False)
        edit = Edit(model)
        for node, renewal in found:
            _apply(edit, node, renewal)
        model.opset_imports[""] = HUB_OPSET
        return ir.passes.PassResult(model, True)

    def _renewal(self, node: ir.Node, written: int) -> _Renewal | None:
        here, there = schema_at(node, written), schema_at(node, HUB_OPSET)
        if here is None or there is None or there.deprecated:
            self.decline(node, f"opset {HUB_OPSET} has no {node.op_type}")
            return None
        since, rule = _RULES.get(node.op_type, (0, None))
        renewal = rule(node) if rule is not None and here.since_version < since else _Renewal()
        reason = renewal if isinstance(renewal, str) else None
        if renewal == _Renewal():
            reason = difference(node, here, there)
        if reason is not None:
            self.decline(node, reason)
            return None
        assert isinstance(renewal, _Renewal)
        return renewal


def _apply(edit: Edit, node: ir.Node, renewal: _Renewal) -> None:
    node.version = None  # it would contradict the opset that the graph declares
    node.attributes.pop(renewal.drop, None)
    for attr in ir.convenience.convert_attributes(dict(renewal.attributes)):
        node.attributes[attr.name] = attr
    if renewal.array is not None:
        node.resize_inputs(max(len(node.inputs), renewal.place + 1))
        node.replace_input_with(renewal.place, edit.constant(renewal.array, node.outputs[0]))


def _to_input(name: str, dtype: type[np.generic] = np.int64) -> Callable[[ir.Node], _Renewal]:
    def rule(node: ir.Node) -> _Renewal:
        if name not in node.attributes:
            return _Renewal()
        return _Renewal(drop=name, place=1, array=np.array(node.attributes[name].value, dtype))

    return rule


def _split(node: ir.Node) -> _Renewal:
    if "split" in node.attributes:
        return _to_input("split")(node)
    return _Renewal() if input_of(node, 1) is not None else _Renewal(attributes={"num_outputs": len(node.outputs)})


def _last_axis(node: ir.Node) -> _Renewal | str:
    """It took all axes from this one on together; now it takes this one alone."""
    dims, axis = rank(node.inputs[0]), node.attributes.get_int("axis", 1)
    if axis == -1 or (dims is not None and axis == dims - 1):
        return _Renewal(attributes={"axis": -1})
    return "its meaning changed with opset 13: its axis is not known to be the last one"


def _transform_axis(node: ir.Node) -> _Renewal:
    """Its default changed, too."""
    return _Renewal(drop="axis", place=2, array=np.array(node.attributes.get_int("axis", 1)))


def _grid_mode(node: ir.Node) -> _Renewal:
    new = {"bilinear": "linear", "bicubic": "cubic"}
    mode = node.attributes.get_string("mode", "bilinear")
    return _Renewal(attributes={"mode": new.get(mode, mode)})


def _roi_align(node: ir.Node) -> _Renewal:
    return _Renewal(attributes={"coordinate_transformation_mode": "output_half_pixel"})


_Rule = Callable[[ir.Node], "_Renewal | str"]

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

# The opset in which an operator changed, and what makes up for it.
_RULES: dict[str, tuple[int, _Rule]] = {
    **{f"Reduce{kind}": (18, _to_input("axes")) for kind in _REDUCTIONS},
    "ReduceSum": (13, _to_input("axes")),
    "Squeeze": (13, _to_input("axes")),
    "Unsqueeze": (13, _to_input("axes")),
    "Dropout": (12, _to_input("ratio", np.float32)),
    "Split": (18, _split),
    "Softmax": (13, _last_axis),
    "LogSoftmax": (13, _last_axis),
    "Hardmax": (13, _last_axis),
    "DFT": (20, _transform_axis),
    "GridSample": (20, _grid_mode),
    "RoiAlign": (16, _roi_align),
}
