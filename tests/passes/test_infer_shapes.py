from __future__ import annotations

import onnx_ir as ir
import pytest
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


def test_a_branch_is_looked_into() -> None:
    model = parse(
        "(bool c, float[n,3] x) => (float[m,3] y) { y = If(c) "
        "<then_branch = a () => (float[p,3] u) { t = Relu(x) u = Neg(t) }, "
        "else_branch = b () => (float[q,3] v) { t = Abs(x) v = Neg(t) }> }"
    )
    assert apply(InferShapes(), model)
    branches = [graph for graph in model.graphs() if graph is not model.graph]
    for graph in branches:
        inner = next(iter(graph)).outputs[0]
        assert inner.shape is not None and [str(dim) for dim in inner.shape] == ["n", "3"]


def test_where_the_inference_fails_everything_stays() -> None:
    model = parse("(float[2,3] x) => (float[2,3] y) <float[4,5] t> { t = Relu(x) y = Neg(t) }")
    assert not apply(InferShapes(), model)


def test_sizes_of_constants_are_followed() -> None:
    model = parse("(float[n,6] x) => (float[n,k,m] y) <int64[3] s = {0, 2, 3}> { t = Reshape(x, s) y = Neg(t) }")
    assert apply(InferShapes(), model)
    shape = next(iter(model.graph)).outputs[0].shape
    assert shape is not None and [str(dim) for dim in shape] == ["n", "2", "3"]


def test_nothing_is_inferred_where_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    model = parse("(float[n,3] x) => (float[n,3] y) <float[n,3] t> { t = Relu(x) y = Neg(t) }")
    monkeypatch.delattr("compiler.passes.infer_shapes.inferred")
    assert not apply(InferShapes(), model)
