"""Forms of an operator that OpenVINO's frontend takes and computes wrongly; the operator itself is right otherwise."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from backends.openvino.passes import resize_matrices
from compiler.errors import CompileError
from compiler.ir.provenance import describe


def _has_peepholes(node: ir.Node) -> bool:
    return len(node.inputs) > 7 and node.inputs[7] is not None


def _keeps_aspect(node: ir.Node) -> bool:
    return node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"


def _is_one_sided(node: ir.Node) -> bool:
    return bool(node.attributes.get_int("onesided", 0))


def _is_along_any(node: ir.Node) -> bool:
    axis = node.inputs[2] if len(node.inputs) > 2 else None
    return axis is not None and axis.const_value is None


def _takes_largest(node: ir.Node) -> bool:
    return node.attributes.get_string("mode", "avg") == "max"


_WRONG: tuple[tuple[str, Callable[[ir.Node], bool], str], ...] = (
    ("LSTM", _has_peepholes, "OpenVINO leaves an LSTM's peepholes out"),
    ("Resize", _keeps_aspect, "OpenVINO does not look at the policy for the aspect ratio"),
    (
        "Resize",
        resize_matrices.is_other,
        "OpenVINO weighs otherwise where a Resize smooths or leaves the edge out",
    ),
    (
        "RoiAlign",
        _takes_largest,
        "OpenVINO takes the largest of a region's places, and ONNX that of their weighted neighbours",
    ),
    ("DFT", _is_one_sided, "OpenVINO gives the result of a one-sided DFT another shape"),
    ("DFT", _is_along_any, "OpenVINO takes another axis for a DFT than one that is known at run time only"),
)


def refuse_wrong(model: ir.Model, target: str) -> None:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for operator, applies, why in _WRONG:
            if node.op_type == operator and node.domain == "" and applies(node):
                raise CompileError(
                    "unsupported-op",
                    f"{target} cannot build this model",
                    where=describe(node),
                    why=why,
                    hint="another --target takes it",
                )
