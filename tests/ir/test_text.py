from __future__ import annotations

import numpy as np
import onnx_ir as ir
from graphs import parse

from compiler.ir.text import to_text

MODEL = """
<ir_version: 10, opset_import: ["" : 24, "my" : 1]> g (float[batch, 4] x, bool c) => (float[batch, 4] y)
<float[4] w = {1, 0.5, -2, 0.1}, int64[3, 4] big> {
  h = Mul(x, w)
  y = If(c) <then_branch = t () => (float[batch, 4] a) { a = my.scale<by = 0.1>(h) },
             else_branch = f () => (float[batch, 4] b) { b = Clip(h, , w) }>
}
<domain: "my", opset_import: ["" : 24]> scale <by: float = 1.0, mode> (x) => (y) {
  y = LeakyRelu<alpha: float = @by>(x)
}
"""

WANT = """\
model ir_version=10 opsets {ai.onnx: 24, my: 1}
graph g(x: float32[batch,4], c: bool[]) -> (y: float32[batch,4])
  init big: int64[3,4] sha256:700a4498438a
  init w: float32[4] {1.0, 0.5, -2.0, 0.1}
  h = Mul(x, w)  # layers.0 (model.py:12)
  y: float32[batch,4] = If(c)
    else_branch:
      graph f() -> (b: float32[batch,4])
        b: float32[batch,4] = Clip(h, _, w)
    then_branch:
      graph t() -> (a: float32[batch,4])
        a: float32[batch,4] = my::scale(h) {by=0.1}

function my::scale<by=1.0, mode>(x) -> (y) opsets {ai.onnx: 24}
  y = LeakyRelu(x) {alpha=@by}
"""


def model() -> ir.Model:
    parsed = parse(MODEL.replace(", int64[3, 4] big", ""))
    big = ir.val("big", const_value=ir.tensor(np.arange(12).reshape(3, 4), name="big"))
    parsed.graph.register_initializer(big)
    parsed.graph[0].metadata_props.update(
        {
            "pkg.torch.onnx.name_scopes": "['', 'layers.0', 'mul']",
            "pkg.torch.onnx.stack_trace": 'File "/home/me/model.py", line 12, in forward\n    return x * self.w',
        }
    )
    return parsed


def test_everything_is_in_the_text() -> None:
    assert to_text(model(), with_provenance=True) == WANT


def test_equal_models_give_equal_text() -> None:
    first = model()
    assert to_text(first) == to_text(first.clone())
    assert to_text(first) == to_text(ir.from_proto(ir.to_proto(first)))


def test_the_order_of_attributes_and_weights_does_not_show() -> None:
    first, second = model(), model()
    node = second.graph[1]
    node.attributes["else_branch"] = node.attributes.pop("else_branch")
    weight = second.graph.initializers.pop("big")
    second.graph.initializers["big"] = weight
    assert to_text(first) == to_text(second)


def test_a_changed_weight_shows() -> None:
    changed = model()
    changed.graph.initializers["big"].const_value = ir.tensor(np.ones((3, 4), np.int64), name="big")
    assert to_text(changed) != to_text(model())
