"""What ONNX Runtime's Attention makes of masks, and that it makes of them what the standard does behind the pass."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from check import apply, check_unchanged, parse, same_numbers
from hub import hub

from backends.onnxruntime.passes.fit_masks import FitMasks
from compiler.ir.evaluate import Evaluator

QKV = "float[b,2,q,8] q, float[b,2,s,8] k, float[b,2,s,8] v"
ATTENTION = "y = Attention<scale=0.25>(q, k, v, m)"
LOWEST = np.finfo(np.float32).min


def graph(mask: str, body: str = ATTENTION) -> str:
    return hub(
        f"({QKV}, {mask}) => (float[b,2,q,8] y)",
        body,
        "float zero = {0}",
        f"float low = {{{LOWEST}}}",
        "float[b,1,q,s] m",
    )


def inputs(mask: np.ndarray, name: str = "m") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    sizes = {"q": (2, 2, 3, 8), "k": (2, 2, 4, 8), "v": (2, 2, 4, 8)}
    return {**{name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()}, name: mask}


def on_runtime(model: ir.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)[0]


SHAPES = {"bool[b,1,1,s]": (2, 1, 1, 4), "bool[1,s]": (1, 4)}


@pytest.mark.parametrize("mask", SHAPES)
def test_narrow_masks_are_stretched(mask: str) -> None:
    text = graph(f"{mask} m")
    given = inputs(np.random.default_rng(1).integers(0, 2, SHAPES[mask]).astype(np.bool_) | np.array([True]))
    model, original = parse(text), parse(text)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="attn_mask"):
        on_runtime(original, given)
    assert apply(FitMasks(), model)
    assert not apply(FitMasks(), model)
    same_numbers(original, model, given)
    np.testing.assert_allclose(on_runtime(model, given), Evaluator(original, precise=True)(given)["y"], atol=1e-6)


def test_a_row_under_the_lowest_number_is_the_mean() -> None:
    text = graph("float[b,1,q,s] m")
    mask = np.zeros((2, 1, 3, 4), np.float32)
    mask[0], mask[1, 0, 0, 1:] = LOWEST, LOWEST
    given = inputs(mask)
    model, original = parse(text), parse(text)
    mean = given["v"][0].mean(axis=1, keepdims=True).repeat(3, axis=1)
    assert (on_runtime(original, given)[0] == 0).all(), "the runtime has learned it, and half of the pass may go"
    assert apply(FitMasks(), model)
    assert not apply(FitMasks(), model)
    same_numbers(original, model, given)
    np.testing.assert_allclose(on_runtime(model, given)[0], mean, atol=1e-6)


def test_minus_infinity_stays_what_it_is() -> None:
    mask = np.zeros((2, 1, 3, 4), np.float32)
    mask[0] = -np.inf
    model = parse(graph("float[b,1,q,s] m"))
    assert apply(FitMasks(), model)
    assert (on_runtime(model, inputs(mask))[0] == 0).all()


def test_a_chosen_number_is_replaced_where_it_stands() -> None:
    body = "m = Where(c, zero, low) w = Attention<scale=0.25>(q, k, v, m) y = Attention<scale=0.25>(w, k, v, m)"
    text = graph("bool[b,1,q,s] c", body)
    given = inputs(np.zeros((2, 1, 3, 4), np.bool_), "c")
    model, original = parse(text), parse(text)
    assert apply(FitMasks(), model)
    assert [node.op_type for node in model.graph] == ["Where", "Attention", "Attention"]
    assert not apply(FitMasks(), model)
    same_numbers(original, model, given)


@pytest.mark.parametrize("mask", ["bool[b,1,q,s] m", "bool[q,s] m"])
def test_whole_conditions_are_left_alone(mask: str) -> None:
    check_unchanged(FitMasks(), graph(mask))
