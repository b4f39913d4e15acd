from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, check_unchanged, draw, parse

from compiler.ir.provenance import origins
from compiler.passes.agreement import Judge
from compiler.passes.fold_batch_norms import FoldBatchNorms

NORM = "float[4] g = {1, 2, 3, 4}, float[4] b = {1, 0, -1, 2}, float[4] m = {0, 1, 2, 3}, float[4] v = {1, 4, 9, 2}"
CALL = "y = BatchNormalization(t, g, b, m, v)"
MAP = "(float[n,2,5,5] x) => (float[n,4,5,5] y) "
ROWS = "(float[n,2] x) => (float[n,4] y) "
ONE_GROUP = "<float[4,1,1,1] w = {1, 2, 3, 4}"
TWO_GROUPS = "<float[2,2,1,1] w = {1, 2, 3, 4}"
EIGHT = "= {1, -2, 3, 4, 0.5, 6, -7, 8}"


@pytest.mark.parametrize(
    ("graph", "left"),
    [
        (MAP + f"<float[4,2,1,1] w {EIGHT}, {NORM}> {{ t = Conv(x, w)  {CALL} }}", ["Conv"]),
        (MAP + f"<float[4,2,1,1] w {EIGHT}, float[4] c = {{1, 2, 3, 4}}, {NORM}>"
         f" {{ t = Conv(x, w, c)  {CALL} }}", ["Conv"]),
        (MAP + f"{ONE_GROUP}, {NORM}> {{ t = Conv<group = 2>(x, w)  {CALL} }}", ["Conv"]),
        (MAP + f"<float[2,4,1,1] w {EIGHT}, {NORM}> {{ t = ConvTranspose(x, w)  {CALL} }}", ["ConvTranspose"]),
        (MAP + f"{TWO_GROUPS}, {NORM}> {{ t = ConvTranspose<group = 2>(x, w)  {CALL} }}", ["ConvTranspose"]),
        (ROWS + f"<float[2,4] w {EIGHT}, {NORM}> {{ t = Gemm(x, w)  {CALL} }}", ["Gemm"]),
        (ROWS + f"<float[4,2] w {EIGHT}, float[4] c = {{1, 2, 3, 4}}, {NORM}>"
         f" {{ t = Gemm<transB = 1, alpha = 0.5, beta = 3.0>(x, w, c)  {CALL} }}", ["Gemm"]),
        (ROWS + f"<float[2,4] w {EIGHT}, {NORM}, float[n,4] t> {{ t = MatMul(x, w)  {CALL} }}", ["MatMul", "Add"]),
    ],
)  # fmt: skip
def test_into_the_weights(graph: str, left: list[str]) -> None:
    before, after = parse(graph), parse(graph)
    assert apply(FoldBatchNorms(), after)
    assert [node.op_type for node in after.graph if node.op_type != "Identity"] == left
    assert {origin.module for origin in origins(after.graph[0])} == {"layers.0", "layers.1"}
    assert "w" in after.graph.initializers, "the weight keeps its name"
    assert not apply(FoldBatchNorms(), after)
    assert Judge(before, [draw(before)]).difference(after) is None


@pytest.mark.parametrize(
    ("graph", "because"),
    [
        ("{ t = Conv(x, w)  o = Relu(t)  n = BatchNormalization(t, g, b, m, v)  y = Add(n, o) }", "other users"),
        ("{ s = Conv(x, w)  t = Conv(x, w)  n = BatchNormalization(t, g, b, m, v)  y = Add(n, s) }", "stored twice"),
    ],
)
def test_a_weight_that_others_use_stays(graph: str, because: str) -> None:
    check_unchanged(FoldBatchNorms(), MAP + f"<float[4,2,1,1] w {EIGHT}, {NORM}> " + graph, because)


def test_channels_that_are_not_the_last_of_a_product() -> None:
    graph = f"(float[n,4,2] x) => (float[n,4,4] y) <float[2,4] w {EIGHT}, {NORM}, float[n,4,4] t>"
    check_unchanged(FoldBatchNorms(), graph + f" {{ t = MatMul(x, w)  {CALL} }}", because="channels")


def test_what_leaves_the_range_of_half_precision() -> None:
    """The text syntax takes the bits of a float16: 60000, 9, 0 and 1."""
    graph = "(float16[n,1,2] x) => (float16[n,1,2] y) <float16[1,1,1] w = {31571}, float16[1] g = {18560}, "
    graph += "float16[1] b = {0}, float16[1] m = {0}, float16[1] v = {15360}> "
    graph += "{ t = Conv(x, w)  y = BatchNormalization(t, g, b, m, v) }"
    check_unchanged(FoldBatchNorms(), graph, because="range")


def test_it_is_folded_in_float64() -> None:
    """In float32 the scale alone would lose half of its digits here."""
    graph = MAP + f"<float[4,2,1,1] w {EIGHT}, {NORM}> {{ t = Conv(x, w)  {CALL} }}"
    after = parse(graph)
    FoldBatchNorms()(after)
    folded = ir.convenience.get_const_tensor(after.graph.initializers["w"])
    assert folded is not None
    weight = np.array([1, -2, 3, 4, 0.5, 6, -7, 8]).reshape(4, 2)
    scale = np.array([1, 2, 3, 4]) / np.sqrt(np.array([1, 4, 9, 2]) + np.float64(np.float32(1e-5)))
    np.testing.assert_array_equal(folded.numpy().reshape(4, 2), (weight * scale[:, None]).astype(np.float32))
