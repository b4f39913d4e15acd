from __future__ import annotations

import onnx_ir as ir
from check import apply, parse

from compiler.passes.infer_shapes import InferShapes


def test_intermediate_values_get_their_shape() -> None:
    model = parse("(float[n,3] x, float[3,4] w) => (float[n,4] y) { t = MatMul(x, w) y = Relu(t) }")
    assert apply(InferShapes(), model)
    product = next(iter(model.graph)).outputs[0]
    assert product.shape is not None and [str(dim) for dim in product.shape] == ["n", "4"]
    assert not apply(InferShapes(), model)


def test_the_interface_keeps_its_own_names_for_dims() -> None:
    model = parse("(float[n,3] x, float[3,4] w) => (float[rows,4] y) { y = MatMul(x, w) }")
    apply(InferShapes(), model)
    shape = model.graph.outputs[0].shape
    assert shape is not None and str(shape[0]) == "rows"


def test_a_sequence_is_not_called_a_tensor() -> None:
    model = parse(
        "(float[2,3] x) => (float[n,3] y) "
        "{ empty = SequenceEmpty() all = SequenceInsert(empty, x) y = ConcatFromSequence<axis = 0>(all) }"
    )
    apply(InferShapes(), model)
    empty = next(iter(model.graph)).outputs[0]
    assert not isinstance(empty.type, ir.TensorType)
