"""TensorRT: 8 bits come in, are moved and go out; nothing is computed with them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, check_pass, check_unchanged, parse, same_numbers

from backends.tensorrt.passes.small_integers import SmallIntegers
from compiler.errors import CompileError

SMALL = pytest.mark.parametrize("kind", ["int8", "uint8"])
CODE = {"int8": 3, "uint8": 2}


@SMALL
def test_bytes_are_moved_as_floats(kind: str) -> None:
    check_pass(
        SmallIntegers(),
        f"({kind}[2,3] x, {kind}[3,2] z) => ({kind}[6,2] y) {{ t = Transpose(x)  y = Concat<axis = 0>(t, z) }}",
        f"({kind}[2,3] x, {kind}[3,2] z) => ({kind}[6,2] y) {{ a = Cast<to = 1>(x)  t = Transpose(a) "
        f" b = Cast<to = 1>(z)  c = Concat<axis = 0>(t, b)  y = Cast<to = {CODE[kind]}>(c) }}",
    )


@SMALL
def test_every_byte_survives(kind: str) -> None:
    text = f"({kind}[n] x, bool[n] c) => ({kind}[n] y, int64[n] z, bool[n] b) "
    text += "{ w = Where(c, x, x)  y = Max(w, x)  z = Cast<to = 7>(w)  b = Greater(x, w) }"
    model, original = parse(text), parse(text)
    assert apply(SmallIntegers(), model)
    assert not apply(SmallIntegers(), model)
    ends = np.iinfo(kind)
    x = np.arange(ends.min, ends.max + 1).astype(kind)
    same_numbers(original, model, {"x": x, "c": x % 3 == 0})


@SMALL
def test_a_constant_is_a_constant_of_floats(kind: str) -> None:
    text = f"(float[2] x) => (float[2] y) <{kind}[2] w = {{1, 100}}> {{ f = Cast<to = 1>(w)  y = Mul(x, f) }}"
    model, original = parse(text), parse(text)
    assert apply(SmallIntegers(), model)
    assert not any(value.dtype is not ir.DataType.FLOAT for value in model.graph.initializers.values())
    same_numbers(original, model)


@SMALL
@pytest.mark.parametrize(
    "body",
    [
        "(bool[2] x) => ({kind}[2] y) {{ y = Cast<to = {code}>(x) }}",
        "(float[2,9] x) => ({kind}[2,1] y) {{ t = ArgMax<axis = 1>(x)  y = Cast<to = {code}>(t) }}",
        "(float[2] x) => ({kind}[2] y) <float a = {{0}}, float b = {{99}}> {{ t = Clip(x, a, b)  "
        "y = Cast<to = {code}>(t) }}",
    ],
    ids=["bool", "index", "clipped"],
)
def test_what_certainly_fits_becomes_a_byte(kind: str, body: str) -> None:
    model = parse(body.format(kind=kind, code=CODE[kind]))
    SmallIntegers()(model)
    assert {node.inputs[0].dtype for node in model.graph if node.outputs[0].name == "y" and node.inputs[0]} == {
        ir.DataType.FLOAT
    }


def test_a_byte_that_is_used_again_is_a_whole_number_in_between() -> None:
    text = "(float[3] x) => (uint8[3] y, bool[3] b) <float a = {0}, float c = {200}> { t = Clip(x, a, c) "
    text += " y = Cast<to = 2>(t)  b = Equal(y, y) }"
    model, original = parse(text), parse(text)
    assert apply(SmallIntegers(), model)
    assert not apply(SmallIntegers(), model)
    same_numbers(original, model, {"x": np.array([-3.5, 2.9, 250], np.float32)})
    made = {value.dtype for node in model.graph for value in node.inputs if value is not None}
    assert ir.DataType.UINT8 not in made, "no node takes one"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(int8[2] x) => (int8[2] y) { y = Add(x, x) }", "int8: Add computes with it"),
        ("(uint8[2] x) => (uint8[2] y) { y = Mul(x, x) }", "uint8: Mul computes with it"),
        ("(float[2] x) => (uint8[2] y) { y = Cast<to = 2>(x) }", "uint8: what becomes one may be"),
        ("(int64[2] x) => (int8[2] y) { y = Cast<to = 3>(x) }", "int8: what becomes one may be"),
        (
            "(float[2] x) => (uint8[2] y) <float s = {0.1}, uint8 z = {0}> { y = QuantizeLinear(x, s, z) }",
            "uint8: QuantizeLinear computes with it",
        ),
        (
            "(float[2] x) => (int8[2] y) <float s = {0.1}, int8 z = {3}> { y = QuantizeLinear(x, s, z) }",
            "int8: QuantizeLinear computes with it",
        ),
    ],
)
def test_what_computes_with_bytes_is_refused(text: str, why: str) -> None:
    with pytest.raises(CompileError) as caught:
        SmallIntegers()(parse(text))
    assert (caught.value.code, caught.value.where is not None) == ("unsupported-op", True)
    assert str(caught.value.why).startswith(why)


def test_quantization_without_a_zero_point_stays() -> None:
    check_unchanged(
        SmallIntegers(),
        "(float[2] x) => (float[2] y) <float s = {0.1}, int8 z = {0}, int8[2] w = {1, 2}> "
        "{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s)  e = DequantizeLinear(w, s, z)  y = Mul(d, e) }",
    )


def test_wider_integers_stay() -> None:
    check_unchanged(SmallIntegers(), "(int32[2] x) => (int64[2] y) { t = Add(x, x)  y = Cast<to = 7>(t) }")
