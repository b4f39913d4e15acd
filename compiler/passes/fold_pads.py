"""Conv(Pad(x)) = Conv(x) with wider pads, for zeros around the picture; so with AveragePool where it counts its pads.

MaxPool pads with the lowest number, so only a Pad with that goes into it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import LocalRewrite, constant, input_of, ints, is_op, made_by, rank, small_ints, wanted


class FoldPads(LocalRewrite):
    """A Pad with other users stays for them, and is taken out of this chain all the same."""

    def visit(self, node: ir.Node) -> None:
        if not is_op(node, "Conv", "AveragePool", "MaxPool"):
            return
        pad = made_by(node.inputs[0], "Pad")
        source = pad.inputs[0] if pad is not None else None
        if pad is None or source is None:
            return
        pads = _spatial_pads(pad)
        objection = _objection(node, pad, pads)
        if objection is not None or pads is None:
            self.decline(node, objection or "")
            return
        attributes = {**node.attributes, "pads": [a + b for a, b in zip(_own_pads(node, pads), pads, strict=True)]}
        attributes.pop("auto_pad", None)
        self.edit.become(node, node.op_type, [source, *node.inputs[1:]], attributes, origins=[pad])


def _objection(node: ir.Node, pad: ir.Node, pads: list[int] | None) -> str | None:
    if pads is None:
        return "the Pad before it is not by constants around the picture"
    if pad.attributes.get_string("mode", "constant") != "constant":
        return f"the Pad before it is of mode {pad.attributes.get_string('mode', '')}"
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "it pads by itself, as much as it needs"
    value = _value(pad)
    if value is None:
        return "what it is padded with is not known"
    if node.op_type == "MaxPool":
        return _max_pool_objection(node, pad, pads, value)
    if value != 0:
        return f"it is padded with {value:g}, not with 0"
    if node.op_type == "AveragePool":
        counts = node.attributes.get_int("count_include_pad", 0)
        if counts == 0 or node.attributes.get_int("ceil_mode", 0) != 0:
            return "it does not count its pads"
    return None


def _max_pool_objection(node: ir.Node, pad: ir.Node, pads: list[int], value: float) -> str | None:
    kernel = list(node.attributes.get_ints("kernel_shape", ()))
    if value != -np.inf:
        return f"it is padded with {value:g}, not with the lowest number"
    if any(map(wanted, node.outputs[1:])) or node.attributes.get_int("ceil_mode", 0) != 0:
        return "its places or its last window would change"
    if any(a + b >= size for a, b, size in zip(_own_pads(node, pads), pads, kernel * 2, strict=True)):
        return "a window would see nothing but pads"
    return None


def _own_pads(node: ir.Node, like: list[int]) -> list[int]:
    none = "pads" not in node.attributes or node.attributes.get_string("auto_pad", "NOTSET") == "VALID"
    return [0] * len(like) if none else list(node.attributes["pads"].as_ints())


def _spatial_pads(pad: ir.Node) -> list[int] | None:
    """Begins and then ends of the spatial axes; None where other axes are padded, or something is cut away."""
    known, pads = rank(pad.inputs[0]), ints(pad, "pads", 1)
    if known is None or pads is None or known < 3:
        return None
    axes = small_ints(input_of(pad, 3)) if input_of(pad, 3) is not None else list(range(known))
    if axes is None or len(pads) != 2 * len(axes):
        return None
    begins, ends = [0] * known, [0] * known
    for place, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[place], pads[place + len(axes)]
    if any((*begins[:2], *ends[:2])) or min(*begins, *ends) < 0:
        return None
    return [*begins[2:], *ends[2:]]


def _value(pad: ir.Node) -> float | None:
    if "value" in pad.attributes:
        return pad.attributes["value"].as_float()
    if input_of(pad, 2) is None:
        return 0.0
    value = constant(input_of(pad, 2))
    return None if value is None or value.size != 1 or value.dtype.kind == "b" else float(value.reshape(-1)[0])
