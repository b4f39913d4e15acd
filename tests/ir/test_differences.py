from __future__ import annotations

import onnx.parser
import onnx_ir as ir

from compiler.ir.differences import differences


def model(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> g ' + text))


ONE = "(float[n,2] x) => (float[n,2] y) <float[2] w = {1, 2}, float[n,2] t> { t = Mul(x, w)  y = Relu(t) }"


def test_equal_graphs_do_not_differ() -> None:
    assert differences(model(ONE), model(ONE)).none


def test_operators_shapes_weights_and_interface() -> None:
    other = "(float[m,2] x) => (float[m,2] y) <float[2] w = {1, 3}, float[m,2] t> "
    other += "{ t = Add(x, w)  u = Relu(t)  y = Neg(u) }"
    found = differences(model(ONE), model(other))
    assert found.operators == {"Add": (0, 1), "Mul": (1, 0), "Neg": (0, 1)}
    assert found.interface["input x"] == ("float32[n,2]", "float32[m,2]")
    assert found.shapes == {"t": ("float32[n,2]", "float32[m,2]")}
    before, after = found.weights["w"]
    assert list(found.weights) == ["w"]
    assert before != after
