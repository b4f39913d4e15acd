from __future__ import annotations

import numpy as np
import pytest
from check import HEADER, apply, check_unchanged, parse, same_numbers

from backends.tensorrt.passes.scatter_reductions import ScatterReductions
from compiler.contracts import Arrays
from compiler.passes.infer_shapes import InferShapes

REDUCTIONS = ["add", "mul", "max", "min"]


def check(text: str, inputs: Arrays) -> None:
    """Nothing reduces while it scatters any more, and the numbers are the same."""
    model = parse(text)
    InferShapes()(model)
    before = model.clone()
    assert apply(ScatterReductions(), model)
    assert not {"ScatterND", "ScatterElements"} & {node.op_type for node in model.graph}
    assert not apply(ScatterReductions(), model)
    same_numbers(before, model, inputs)


def numbers(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("rest", ["", ",3", ",3,2"])
def test_rows(reduction: str, rest: str) -> None:
    shape = tuple(map(int, f"5{rest}".split(",")))
    check(
        f"(float[5{rest}] data, int64[4,1] rows, float[4{rest}] updates) => (float[5{rest}] y) "
        f'{{ y = ScatterND<reduction = "{reduction}">(data, rows, updates) }}',
        {"data": numbers(*shape), "rows": np.array([[3], [0], [-2], [3]]), "updates": numbers(4, *shape[1:])},
    )


@pytest.mark.parametrize("count", [1, 6])
def test_sizes_that_are_not_known_ahead(count: int) -> None:
    check(
        "(float[n,3] data, int64[m,1] rows, float[m,3] updates) => (float[n,3] y) "
        '{ y = ScatterND<reduction = "max">(data, rows, updates) }',
        {"data": numbers(4, 3), "rows": np.arange(count).reshape(-1, 1) % 3, "updates": numbers(count, 3)},
    )


def test_places_that_are_selected_by_several_axes() -> None:
    check(
        "(float[n,3,2] data, int64[2,4,2] places, float[2,4,2] updates) => (float[n,3,2] y) "
        '{ y = ScatterND<reduction = "add">(data, places, updates) }',
        {
            "data": numbers(5, 3, 2),
            "places": np.random.default_rng(1).integers(-3, 3, (2, 4, 2)),
            "updates": numbers(2, 4, 2),
        },
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_an_index_for_each_element(reduction: str, axis: int) -> None:
    check(
        "(float[4,5] data, int64[3,2] places, float[3,2] updates) => (float[4,5] y) "
        f'{{ y = ScatterElements<axis = {axis}, reduction = "{reduction}">(data, places, updates) }}',
        {"data": numbers(4, 5), "places": np.array([[0, -1], [3, 3], [0, 2]]), "updates": numbers(3, 2)},
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_an_index_that_was_expanded_to_the_width_of_a_row(axis: int) -> None:
    """As torch writes scatter_reduce over the edges of a graph."""
    narrow, data, updates = ("m,1", "n,3", "m,3") if axis == 0 else ("1,m", "3,n", "3,m")
    turned = np.transpose if axis else np.asarray
    check(
        f"(float[{data}] data, int64[{narrow}] rows, float[{updates}] updates) => (float[{data}] y) "
        "{ shape = Shape(updates)  whole = Expand(rows, shape) "
        f'y = ScatterElements<axis = {axis}, reduction = "max">(data, whole, updates) }}',
        {
            "data": turned(numbers(4, 3)),
            "rows": turned(np.array([[3], [0], [3], [1], [3]])),
            "updates": turned(numbers(5, 3)),
        },
    )


def test_a_nan_stays_in_its_row() -> None:
    updates = numbers(3, 2)
    updates[1] = [np.nan, np.inf]
    check(
        "(float[4,2] data, int64[3,1] rows, float[3,2] updates) => (float[4,2] y) "
        '{ y = ScatterND<reduction = "add">(data, rows, updates) }',
        {"data": numbers(4, 2), "rows": np.array([[0], [2], [0]]), "updates": updates},
    )


def test_whole_numbers_have_limits_of_their_own() -> None:
    check(
        "(int64[4] data, int64[3] places, int64[3] updates) => (int64[4] y) "
        '{ y = ScatterElements<reduction = "max">(data, places, updates) }',
        {
            "data": np.full(4, np.iinfo(np.int64).min),
            "places": np.array([1, 1, 3]),
            "updates": np.array([-(2**62), -(2**61), 5]),
        },
    )


def test_without_a_reduction_nothing_is_done() -> None:
    check_unchanged(
        ScatterReductions(),
        "(float[5,3] data, int64[4,1] rows, float[4,3] updates) => (float[5,3] y) "
        "{ y = ScatterND(data, rows, updates) }",
    )


def test_too_many_elements_to_compare_are_left_alone() -> None:
    check_unchanged(
        ScatterReductions(),
        HEADER + "(float[80,80] data, int64[80,80] places, float[80,80] updates) => (float[80,80] y) "
        '{ y = ScatterElements<reduction = "add">(data, places, updates) }',
        because="6400 elements",
    )
