"""OpenVINO's own passes: what becomes of a graph, and that the numbers stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, check_unchanged, draw, parse, same_numbers

from backends.openvino.passes.empty_rows import EmptyRows
from backends.openvino.passes.empty_values import EmptyValues
from backends.openvino.passes.exact_remainders import ExactRemainders
from backends.openvino.passes.resize_matrices import ResizeMatrices
from backends.openvino.passes.spell_out_ceil import SpellOutCeil
from backends.openvino.passes.spell_out_unsqueeze import SpellOutUnsqueeze
from backends.openvino.passes.spell_out_wrap import SpellOutWrap
from backends.openvino.passes.transform_matrices import TransformMatrices
from backends.openvino.passes.wrap_integers import WrapIntegers
from compiler.contracts import Array, Arrays
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import verify


def rewritten(instance: ir.passes.PassBase, text: str) -> tuple[ir.Model, ir.Model]:
    """Before and after; a second run finds nothing more."""
    model, original = parse(text), parse(text)
    assert apply(instance, model)
    assert not apply(instance, model)
    return original, model


def answer(model: ir.Model, inputs: Arrays) -> Array:
    return Evaluator(model, precise=False)(inputs)["y"]


def operators(model: ir.Model) -> set[str]:
    return {node.op_type for node in model.graph}


# -- axes that are known at run time --------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [[0], [1], [-1], [2, 4, 5], [5, 4, 2], [-1, 0], [0, 1, 2, 3]])
def test_computed_axes_are_unsqueezed_by_a_reshape(axes: list[int]) -> None:
    result = ",".join("abcdefg"[: 3 + len(axes)])
    text = f"(float[2,n,3] x, int64[{len(axes)}] a) => (float[{result}] y) {{ y = Unsqueeze(x, a) }}"
    original, model = rewritten(SpellOutUnsqueeze(), text)
    assert "Unsqueeze" not in operators(model)
    same_numbers(original, model, {**draw(original), "a": np.array(axes)})


def test_constant_axes_stay() -> None:
    text = "(float[2] x) => (float[1,2] y) <int64[1] a = {0}> { y = Unsqueeze(x, a) }"
    check_unchanged(SpellOutUnsqueeze(), text)


def test_axes_whose_number_is_not_known_stay() -> None:
    text = "(float[2] x, int64[k] a) => (float[m,n] y) { y = Unsqueeze(x, a) }"
    check_unchanged(SpellOutUnsqueeze(), text, because="rank")


# -- padding that goes around -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pads"),
    [
        ('(float[2,n,4] x, int64[6] p) => (float[a,b,c] y) { y = Pad<mode = "wrap">(x, p) }', [0, 2, 1, 1, 0, 3]),
        (
            '(float[n,4] x, int64[2] p) => (float[n,c] y) <int64[1] a = {-1}> { y = Pad<mode = "wrap">(x, p, , a) }',
            [2, 1],
        ),
    ],
)
def test_padding_that_goes_around_gathers(text: str, pads: list[int]) -> None:
    original, model = rewritten(SpellOutWrap(), text)
    assert "Pad" not in operators(model)
    same_numbers(original, model, {**draw(original), "p": np.array(pads)})


def test_constant_pads_touch_their_axes_only() -> None:
    text = '(float[2,n,4] x) => (float[2,b,4] y) <int64[6] p = {0, 1, 0, 0, 2, 0}> { y = Pad<mode = "wrap">(x, p) }'
    original, model = rewritten(SpellOutWrap(), text)
    assert len([node for node in model.graph if node.outputs[0].dtype is ir.DataType.FLOAT]) == 2
    same_numbers(original, model)


def test_other_padding_stays() -> None:
    text = '(float[2,n] x) => (float[3,n] y) <int64[4] p = {1, 0, 0, 0}> { y = Pad<mode = "edge">(x, p) }'
    check_unchanged(SpellOutWrap(), text)


# -- pools that round up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "(float[1,1,2] x) => (float[1,1,1] y) { y = MaxPool<kernel_shape = [1], strides = [2], ceil_mode = 1>(x) }",
        "(float[1,2,4,5] x) => (float[1,2,1,3] y) "
        "{ y = MaxPool<kernel_shape = [1, 2], strides = [5, 2], ceil_mode = 1>(x) }",
        "(float[1,1,2] x) => (float[1,1,1] y) { y = AveragePool<kernel_shape = [1], strides = [2], ceil_mode = 1>(x) }",
    ],
)
def test_windows_behind_the_data_are_left_out(text: str) -> None:
    original, model = rewritten(SpellOutCeil(), text)
    assert "ceil_mode" not in model.graph[0].attributes
    same_numbers(original, model)


def test_pools_without_such_windows_stay() -> None:
    text = "(float[1,1,5] x) => (float[1,1,3] y) { y = MaxPool<kernel_shape = [2], strides = [2], ceil_mode = 1>(x) }"
    check_unchanged(SpellOutCeil(), text)


# -- 8 and 16 bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_small_integers_wrap_around(kind: str, operator: str) -> None:
    text = f"({kind}[n] x, {kind}[n] z) => ({kind}[n] y) {{ y = {operator}(x, z) }}"
    original, model = rewritten(WrapIntegers(), text)
    limits = np.iinfo(kind)
    ends = np.array([limits.min, limits.min + 1, 0, 1, limits.max // 2, limits.max], np.dtype(kind))
    pairs = np.meshgrid(ends, ends)
    same_numbers(original, model, {"x": pairs[0].ravel(), "z": pairs[1].ravel()})


def test_the_lowest_number_over_minus_one_wraps_around() -> None:
    _, model = rewritten(WrapIntegers(), "(int8[2] x, int8[2] z) => (int8[2] y) { y = Div(x, z) }")
    assert answer(model, {"x": np.array([-128, 7], np.int8), "z": np.array([-1, 2], np.int8)}).tolist() == [-128, 3]


@pytest.mark.parametrize(("kind", "bits"), [("uint8", 8), ("uint16", 16)])
def test_bits_that_are_shifted_out_are_gone(kind: str, bits: int) -> None:
    text = f'({kind}[n] x, {kind}[n] z) => ({kind}[n] y) {{ y = BitShift<direction = "LEFT">(x, z) }}'
    _, model = rewritten(WrapIntegers(), text)
    shifts = np.arange(bits, dtype=np.dtype(kind))
    numbers = np.full_like(shifts, 2**bits - 1)
    want = [((2**bits - 1) << shift) % 2**bits for shift in range(bits)]
    assert answer(model, {"x": numbers, "z": shifts}).tolist() == want


def test_wide_integers_and_floats_stay() -> None:
    check_unchanged(WrapIntegers(), "(int32[2] x) => (int32[2] y) { y = Add(x, x) }")
    check_unchanged(WrapIntegers(), "(float[2] x) => (float[2] y) { y = Add(x, x) }")


# -- rows that a mask leaves empty ----------------------------------------------------------------------------------

ROWS = "(float[2,3,n] x) => (bool[2,3,1] y) <int64[1] last = {{-1}}, float low = {{{low}}}> "
ROWS += "{{ l = CastLike(low, x)  m = ReduceMax(x, last)  y = Equal(m, l) }}"


def test_empty_rows_are_found_without_their_largest_number() -> None:
    original, model = rewritten(EmptyRows(), ROWS.format(low="-inf"))
    assert "ReduceMax" not in operators(model)
    x = np.full((2, 3, 4), -np.inf, np.float32)
    x[0, 1, 2], x[1, 0, 0], x[1, 2, 3] = 1, np.nan, -1e38
    same_numbers(original, model, {"x": x})


def test_other_comparisons_stay() -> None:
    check_unchanged(EmptyRows(), ROWS.format(low="1"))


# -- transforms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "(float[2,5,2] x) => (float[2,5,2] y) { y = DFT(x) }",
        "(float[2,6,1] x) => (float[2,6,2] y) { y = DFT(x) }",
        "(float[6,2,3,2] x) => (float[6,2,3,2] y) <int64 axis = {0}> { y = DFT<inverse = 1>(x, , axis) }",
        "(float[2,7,2] x) => (float[2,5,2] y) <int64 n = {5}> { y = DFT(x, n) }",
        "(float[2,4,2] x) => (float[2,7,2] y) <int64 n = {7}> { y = DFT(x, n) }",
        "(float[2,8,1] x) => (float[2,5,2] y) { y = DFT<onesided = 1>(x) }",
        "(float[2,7,3,1] x) => (float[2,4,3,2] y) <int64 axis = {1}> { y = DFT<onesided = 1>(x, , axis) }",
    ],
)
def test_transforms_become_products_with_matrices(text: str) -> None:
    original, model = rewritten(TransformMatrices(), text)
    assert "DFT" not in operators(model)
    same_numbers(original, model, precise=1e-6)  # the matrices are rounded to float32


@pytest.mark.parametrize("count", [7, 8, 12])
def test_a_one_sided_transform_is_undone(count: int) -> None:
    text = f"(float[2,{count // 2 + 1},2] x) => (float[2,{count},1] y) <int64 n = {{{count}}}> "
    _, model = rewritten(TransformMatrices(), text + "{ y = DFT<inverse = 1, onesided = 1>(x, n) }")
    signal = np.random.default_rng(0).standard_normal((2, count))
    spectrum = np.fft.rfft(signal)
    parts = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)
    np.testing.assert_allclose(answer(model, {"x": parts})[..., 0], signal, atol=1e-6)


def test_what_openvino_transforms_well_stays() -> None:
    check_unchanged(TransformMatrices(), "(float[2,8,2] x) => (float[2,8,2] y) { y = DFT(x) }", because="own")
    check_unchanged(TransformMatrices(), "(float[2,n,2] x) => (float[2,n,2] y) { y = DFT(x) }", because="length")


# -- values without elements ---------------------------------------------------------------------------------------


def test_an_empty_output_is_made() -> None:
    text = "(float[2] x) => (float[2] z, float[1,0,3] y) <float[1,0,3] y = {}> { z = Neg(x) }"
    model, original = parse(text), parse(text)
    assert EmptyValues()(model).modified
    verify(model)
    assert operators(model) == {"Neg", "ConstantOfShape"}
    same_numbers(original, model)


def test_an_empty_result_is_made() -> None:
    text = (
        "(float[0,3] x, float[3] w) => (float[0,1] y) <int64[1] i = {2}> { t = Add(x, w)  y = Gather<axis = 1>(t, i) }"
    )
    original, model = rewritten(EmptyValues(), text)
    assert operators(model) == {"ConstantOfShape"}
    same_numbers(original, model)


def test_what_may_be_empty_stays() -> None:
    check_unchanged(EmptyValues(), "(float[n,3] x) => (float[n,3] y) { y = Neg(x) }")


def test_other_constant_outputs_stay() -> None:
    check_unchanged(EmptyValues(), "(float[2] x) => (float[2] z, float[1] y) <float[1] y = {1}> { z = Neg(x) }")


# -- sizes that change by a product --------------------------------------------------------------------------------

OTHER_WEIGHTS = [
    'mode = "linear", antialias = 1',
    'mode = "cubic", antialias = 1, cubic_coeff_a = -0.5',
    'mode = "cubic", exclude_outside = 1',
    'mode = "linear", antialias = 1, exclude_outside = 1, coordinate_transformation_mode = "pytorch_half_pixel"',
    'mode = "linear", antialias = 1, coordinate_transformation_mode = "align_corners"',
    'mode = "cubic", antialias = 1, coordinate_transformation_mode = "asymmetric"',
    'mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"',
]


@pytest.mark.parametrize("form", OTHER_WEIGHTS)
@pytest.mark.parametrize(
    "text",
    [
        "(float[2,8,7] x) => (float[2,3,9] y) <int64[2] s = {{3, 9}}> {{ y = Resize<{}, axes = [1, 2]>(x, , , s) }}",
        "(float[2,8,7] x) => (float[2,4,1] y) <float[3] s = {{1, 0.6, 0.2}}> {{ y = Resize<{}>(x, , s) }}",
        "(float[2,8,7,2] x, int64[2] s) => (float[2,p,q,2] y) {{ y = Resize<{}, axes = [1, 2]>(x, , , s) }}",
        "(float[n,8,m] x, float[2] s) => (float[n,4,6] y) {{ y = Resize<{}, axes = [-2, -1]>(x, , s) }}",
    ],
    ids=["sizes", "scales", "computed sizes", "computed scales"],
)
def test_sizes_change_by_one_matrix_for_each_axis(text: str, form: str) -> None:
    original, model = rewritten(ResizeMatrices(), text.format(form))
    assert "Resize" not in operators(model)
    inputs = draw(original)
    if "s" in inputs:
        whole = inputs["s"].dtype.kind == "i"
        x = np.random.default_rng(0).standard_normal((2, 8, 7, 2) if whole else (3, 8, 5), np.float32)
        inputs = {"x": x, "s": np.array([3, 9]) if whole else np.array([0.6, 1.3], np.float32)}
    for precise in (True, False):
        want, have = (Evaluator(one, precise=precise)(inputs)["y"] for one in (original, model))
        np.testing.assert_allclose(have, want, atol=1e-6 if precise else 1e-5)  # places are in float32 at run time


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ('(float[2,8] x) => (float[2,4] y) <int64[2] s = {2, 4}> { y = Resize<mode = "linear">(x, , , s) }', None),
        (
            '(float[n,8] x, float[2] s) => (float[n,m] y) { y = Resize<mode = "linear", antialias = 1>(x, , s) }',
            "size of its result",
        ),
        (
            '(float[2,8] x) => (float[2,2] y) <int64[2] s = {2, 4}> { y = Resize<mode = "linear", antialias = 1, '
            'keep_aspect_ratio_policy = "not_larger">(x, , , s) }',
            "aspect",
        ),
        (
            "(uint8[2,8] x) => (uint8[2,4] y) <int64[2] s = {2, 4}> "
            '{ y = Resize<mode = "linear", antialias = 1>(x, , , s) }',
            "floats",
        ),
    ],
)
def test_other_changes_of_size_stay(text: str, because: str | None) -> None:
    check_unchanged(ResizeMatrices(), text, because=because)


# -- remainders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4, 1e12])
def test_remainders_are_those_of_the_c_library(scale: float) -> None:
    _, model = rewritten(ExactRemainders(), "(float[n] a, float[m] b) => (float[p] y) { y = Mod<fmod = 1>(a, b) }")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(4096).astype(np.float32) * np.float32(size) for size in (scale, 1))
    b[:512] = np.round(b[:512] * 10) / 10 + np.float32(3)
    np.testing.assert_array_equal(answer(model, {"a": a, "b": b}), np.fmod(a, b))


def test_remainders_of_what_is_no_ordinary_number() -> None:
    _, model = rewritten(ExactRemainders(), "(float[n] a, float[n] b) => (float[n] y) { y = Mod<fmod = 1>(a, b) }")
    a = np.array([7.5, -3, np.inf, 1, np.nan, 1, 0], np.float32)
    b = np.array([np.inf, -np.inf, 2, 0, 1, np.nan, 3], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(answer(model, {"a": a, "b": b}), np.fmod(a, b))


def test_remainders_of_integers_and_those_that_round_down_stay() -> None:
    check_unchanged(ExactRemainders(), "(int32[2] a, int32[2] b) => (int32[2] y) { y = Mod<fmod = 1>(a, b) }")
    check_unchanged(ExactRemainders(), "(int32[2] a, int32[2] b) => (int32[2] y) { y = Mod(a, b) }")
