"""Dims get the names of the inputs they come from, through shape arithmetic and every operator that keeps dims."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from check import parse
from hub import hub

from compiler.passes.name_sizes import LARGEST, NameSizes

X = "(float[b,s,8] x, float[b,1,8] z, int64[b,s] i, float[16,8] table) => (float[b,s,8] y)"
CONSTANTS = (
    "int64[4] heads = {0, 0, -1, 4}",
    "int64[2] flat = {-1, 8}",
    "int64[1] minus = {-1}",
    "int64[1] zero = {0}",
    "int64[3] thrice = {2, 3, 1}",
    "int64[1] one = {1}",
    "int64[1] two = {2}",
    "int64[1] four = {4}",
    "int64[1] end = {9223372036854775807}",
    "int64 first = {0}",
    "int64 second = {1}",
    "float[b,s,unk__7] odd",
)
ROW = "h = Shape(x) g = Gather<axis=0>(h, second) u = Unsqueeze(g, zero) "


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("t = Neg(x)", "b,s,8"),
        ("t = Add(x, z)", "b,s,8"),
        ("t = Reshape(x, heads)", "b,s,2,4"),
        ("t = Reshape(x, flat)", "b*s,8"),
        ("r = Reshape(x, heads) t = Transpose<perm=[0,2,1,3]>(r)", "b,2,s,4"),
        ("r = Transpose<perm=[0,2,1]>(x) t = MatMul(x, r)", "b,s,s"),
        ("t = Unsqueeze(x, one)", "b,1,s,8"),
        ("r = Unsqueeze(x, minus) t = Squeeze(r, minus)", "b,s,8"),
        ("t = Concat<axis=1>(x, x)", "b,2*s,8"),
        ("t = Concat<axis=1>(x, z)", "b,1 + s,8"),
        ("t = Slice(x, zero, four, two)", "b,s,4"),
        ("t = Slice(x, zero, end, one)", "b,s,8"),
        ("t = Gather<axis=2>(x, first)", "b,s"),
        ("t = Gather<axis=0>(table, i)", "b,s,8"),
        ("t = ReduceMean(x, minus)", "b,s,1"),
        ("t = ReduceMean<keepdims=0>(x, one)", "b,8"),
        ("h = Shape(x) t = Expand(z, h)", "b,s,8"),
        ("t = Tile(x, thrice)", "2*b,3*s,8"),
        ("h = Shape(x) g = Gather<axis=0>(h, second) t = Range(first, g, second)", "s"),
        (ROW + "c = Concat<axis=0>(minus, u, four) t = Reshape(x, c)", "2*b,s,4"),
        ("t = Flatten<axis=2>(i)", "b*s,1"),
        ("odd = Neg(x) t = Neg(odd)", "b,s,8"),
    ],
)
def test_sizes_are_worked_out(body: str, shape: str) -> None:
    model = parse(hub(X, body + " y = Neg(x)", *CONSTANTS))
    assert NameSizes()(model).modified
    found = next(value for node in model.graph for value in node.outputs if value.name == "t")
    assert found.shape is not None
    assert ",".join(str(dim) for dim in found.shape) == shape
    assert not NameSizes()(model).modified


def test_a_slice_up_to_a_size_that_is_never_larger() -> None:
    text = hub(X, ROW + "t = Slice(table, zero, u, zero) y = Neg(x)", *CONSTANTS)
    for largest, size in (({}, "None"), ({"s": 17}, "None"), ({"s": 16}, "s")):
        model = parse(text)
        model.meta[LARGEST] = largest
        NameSizes()(model)
        found = next(value for node in model.graph for value in node.outputs if value.name == "t")
        assert found.shape is not None
        assert str(found.shape[0]) == size


@pytest.mark.parametrize(
    ("interface", "body"),
    [
        ("(float[b,s] x, float[c,s] z) => (float[b,s] y)", "t = Add(x, z)"),
        ("(float[b,s] x, float[q] z) => (float[b,s] y)", "h = Shape(z) t = Expand(x, h)"),
    ],
)
def test_what_may_be_stretched_stays_open(interface: str, body: str) -> None:
    model = parse(hub(interface, body + " y = Neg(x)"))
    NameSizes()(model)
    found = next(value for node in model.graph for value in node.outputs if value.name == "t")
    assert found.shape is not None
    assert any(isinstance(dim, ir.SymbolicDim) and dim.value is None for dim in found.shape)


def test_names_that_were_given_stay() -> None:
    model = parse(hub(X, "mine = Neg(x) y = Neg(mine)", "float[b,mid,8] mine"))
    assert not NameSizes()(model).modified


def test_a_constant_has_the_sizes_of_its_content() -> None:
    model = parse(hub(X, "t = Add(x, zero) y = Neg(t)", "float[1] zero = {0}"))
    model.graph.initializers["zero"].shape = ir.Shape(["unk__3"])
    assert NameSizes()(model).modified
    assert list(model.graph.initializers["zero"].shape) == [1]
