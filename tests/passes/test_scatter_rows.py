from __future__ import annotations

import numpy as np
import pytest
from check import apply, check_unchanged, parse, same_numbers

from backends.onnxruntime.passes.scatter_rows import ScatterRows


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("rest", ["", ",3", ",3,2"])
def test_rows_are_scattered_element_by_element(reduction: str, rest: str) -> None:
    model = parse(
        f"(float[5{rest}] data, int64[4,1] rows, float[4{rest}] updates) => (float[5{rest}] y) "
        f'{{ y = ScatterND<reduction = "{reduction}">(data, rows, updates) }}'
    )
    before = model.clone()
    assert apply(ScatterRows(), model)
    assert "ScatterND" not in [node.op_type for node in model.graph]
    assert not apply(ScatterRows(), model)
    shape = tuple(map(int, f"5{rest}".split(",")))
    rng = np.random.default_rng(0)
    inputs = {
        "data": rng.standard_normal(shape).astype(np.float32),
        "rows": np.array([[3], [0], [3], [3]]),
        "updates": rng.standard_normal((4, *shape[1:])).astype(np.float32),
    }
    same_numbers(before, model, inputs)


def test_a_number_of_rows_that_is_not_known_ahead() -> None:
    model = parse(
        "(float[n,3] data, int64[m,1] rows, float[m,3] updates) => (float[n,3] y) "
        '{ y = ScatterND<reduction = "add">(data, rows, updates) }'
    )
    before = model.clone()
    assert apply(ScatterRows(), model)
    for count in (0, 1, 6):
        inputs = {
            "data": np.ones((4, 3), np.float32),
            "rows": np.arange(count).reshape(-1, 1) % 3,
            "updates": np.full((count, 3), 2, np.float32),
        }
        same_numbers(before, model, inputs)


def test_without_a_reduction_nothing_races() -> None:
    check_unchanged(
        ScatterRows(),
        "(float[5,3] data, int64[4,1] rows, float[4,3] updates) => (float[5,3] y) "
        "{ y = ScatterND(data, rows, updates) }",
    )


def test_indices_of_single_elements_are_declined() -> None:
    check_unchanged(
        ScatterRows(),
        "(float[5,3] data, int64[4,2] places, float[4] updates) => (float[5,3] y) "
        '{ y = ScatterND<reduction = "add">(data, places, updates) }',
        because="do not select rows",
    )
