"""A fault in a small-valued row or channel is found beside large ones, and honest rounding there is let through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from compiler.cases import Case
from compiler.contracts import Array
from compiler.validate.compare import compare
from compiler.verdicts import OutputVerdict

SINGLE = np.float32
ROWS, COLUMNS, LENGTH = 48, 40, 96

Model = Callable[[Array, Array, type, int], Array]  # x, w, the type it computes in, and which order of sums


def product(x: Array, w: Array, dtype: type, order: int) -> Array:
    x, w = x.astype(dtype), w.astype(dtype)
    if order:
        places = np.random.default_rng(order).permutation(w.shape[0])
        x, w = np.ascontiguousarray(x[..., places]), np.ascontiguousarray(w[places])
    return sum((x[..., at : at + 24] @ w[at : at + 24] for at in range(24, LENGTH, 24)), x[..., :24] @ w[:24])


def softmax(x: Array, w: Array, dtype: type, order: int) -> Array:
    y = product(x, w, dtype, order)
    shift = np.max(y, axis=-1, keepdims=True) if order else dtype(0)
    e = np.exp(y - shift)
    return np.asarray(e / (e[..., ::-1] if order else e).sum(-1, keepdims=True, dtype=dtype))


def layer_norm(x: Array, w: Array, dtype: type, order: int) -> Array:
    y = product(x, w, dtype, order)
    mean = y.mean(-1, keepdims=True, dtype=dtype)
    variance = ((y - mean) ** 2).mean(-1, keepdims=True) if order else (y * y).mean(-1, keepdims=True) - mean * mean
    return np.asarray((y - mean) / np.sqrt(variance + dtype(1e-5)))


def cancelled(x: Array, w: Array, dtype: type, order: int) -> Array:
    """Small numbers that are the difference of large ones."""
    return product(x, w, dtype, order) + dtype(100) * x[..., :1].astype(dtype) - dtype(100) * x[..., :1].astype(dtype)


MODELS: dict[str, Model] = {
    "product": product,
    "relu": lambda x, w, dtype, order: np.maximum(product(x, w, dtype, order) - dtype(2), dtype(0)),
    "softmax": softmax,
    "layer norm": layer_norm,
    "cancelled": cancelled,
    "sigmoid": lambda x, w, dtype, order: 1 / (1 + np.exp(-product(x, w, dtype, order))),
    "images": lambda x, w, dtype, order: product(x, w, dtype, order).reshape(4, ROWS // 4, 5, COLUMNS // 5),
}
# How the columns of w, or the rows of x, differ in size.
SCALES: dict[str, tuple[float, float]] = {"even": (0, 0), "columns": (0, 3), "rows": (3, 0), "both": (2, 2)}


def drawn(seed: int, scales: str) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    rows, columns = SCALES[scales]
    x = rng.standard_normal((ROWS, LENGTH)) * 10.0 ** -rng.uniform(0, rows, (ROWS, 1))
    w = rng.standard_normal((LENGTH, COLUMNS)) * 10.0 ** -rng.uniform(0, columns, COLUMNS) / LENGTH**0.5
    return x.astype(SINGLE), w.astype(SINGLE)


def judged(
    model: Model, scales: str, seeds: range, order: int, fault: Callable[[Array], Array] = np.copy
) -> OutputVerdict:
    cases, answers = [], []
    for seed in seeds:
        x, w = drawn(seed, scales)
        own, wide = model(x, w, SINGLE, 0).astype(SINGLE), model(x, w, np.float64, 0)
        cases.append(Case(f"seed {seed}", {}, {}, {"y": own}, {"y": wide}))
        answers.append({"y": fault(model(x, w, SINGLE, order).astype(SINGLE))})
    (found,) = compare(cases, answers).outputs
    return found


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("model", MODELS)
def test_honest_rounding_stays_well_within_the_budget(model: str, scales: str) -> None:
    worst = max(
        judged(MODELS[model], scales, range(3 * trial, 3 * trial + 3), order).shares.get("row", 0.0)
        for trial in range(20)
        for order in (1, 2)
    )
    assert worst < 0.6


def rescaled(place: tuple[object, ...]) -> Callable[[Array], Array]:
    """A relative error of 4e-5 in one slice."""

    def fault(y: Array) -> Array:
        y[place] *= SINGLE(1 + 4e-5)
        return y

    return fault


def smallest(values: Array, axis: int) -> int:
    others = tuple(other for other in range(values.ndim) if other != axis)
    return int(np.argmin(np.sum(values**2, axis=others)))


@pytest.mark.parametrize("seed", range(5))
def test_a_fault_in_the_smallest_column_is_found(seed: int) -> None:
    x, w = drawn(seed, "columns")
    at = smallest(product(x, w, np.float64, 0), 1)
    found = judged(product, "columns", range(seed, seed + 1), 1, rescaled((slice(None), at)))
    assert not found.passed
    assert f"[:, {at}] is off by" in found.why


@pytest.mark.parametrize("seed", range(5))
def test_a_fault_in_the_smallest_row_is_found(seed: int) -> None:
    x, w = drawn(seed, "rows")
    at = smallest(product(x, w, np.float64, 0), 0)
    found = judged(product, "rows", range(seed, seed + 1), 1, rescaled((at,)))
    assert not found.passed
    assert f"[{at}, :] is off by" in found.why


def test_a_fault_in_the_smallest_channel_of_an_image_is_found() -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((2, 8, 6, 6)) * 10.0 ** -np.arange(8).reshape(8, 1, 1) * 0.5
    case = Case("one", {}, {}, {"y": wide.astype(SINGLE)}, {"y": wide})
    wrong = wide.astype(SINGLE)
    wrong[:, 5] *= SINGLE(1 + 4e-3)
    (found,) = compare([case], [{"y": wrong}]).outputs
    assert not found.passed
    assert "5, :, :] is off by" in found.why


def test_a_column_is_judged_over_all_cases() -> None:
    """Where no single case has enough of it."""
    rng = np.random.default_rng(0)
    size = np.array([1.0, 1.0, 1e-3])
    wide = [rng.standard_normal((1, 3)) * size for _ in range(40)]
    cases = [Case(f"{at}", {}, {}, {"y": one.astype(SINGLE)}, {"y": one}) for at, one in enumerate(wide)]
    wrong = [{"y": (one * (1 + 4e-5 * (np.arange(3) == 2))).astype(SINGLE)} for one in wide]
    assert compare(cases, [case.outputs for case in cases]).passed
    (found,) = compare(cases, wrong).outputs
    assert (found.passed, found.why.partition(" ")[0]) == (False, "[:,")
    assert found.shares["element"] < 1


def test_slices_that_are_all_zero_or_too_small_to_tell_are_left_to_the_elements() -> None:
    wide = np.zeros((4, 64))
    wide[0] = np.random.default_rng(0).standard_normal(64)
    case = Case("one", {}, {}, {"y": wide.astype(SINGLE)}, {"y": wide})
    off = wide.astype(SINGLE)
    off[2] = 1e-9
    assert compare([case], [{"y": off}]).passed
    few = np.full((3, 2), 1e-6)
    (found,) = compare(
        [Case("one", {}, {}, {"y": few.astype(SINGLE)}, {"y": few})], [{"y": few.astype(SINGLE)}]
    ).outputs
    assert "row" not in found.shares


@pytest.mark.parametrize("of", ["the same share", "the same amount", "nothing"])
def test_a_row_whose_errors_are_alike_may_be_off_as_an_element_may(of: str) -> None:
    """What hangs on one sum is off as that sum is, and the next implementation adds it up in another order."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((24, COLUMNS)) + 2
    shape = wide if of == "the same share" else np.ones_like(wide)
    apart = rng.standard_normal((24, COLUMNS if of == "nothing" else 1)) * shape
    own = wide + 2e-7 * apart + 1e-7 * rng.standard_normal(wide.shape)
    case = Case("one", {}, {}, {"y": own.astype(SINGLE)}, {"y": wide})

    def row_passes(off: float) -> bool:
        answer = own.copy()
        answer[3] = wide[3] + off * shape[3]
        return compare([case], [{"y": answer.astype(SINGLE)}]).passed

    assert row_passes(3e-6) == (of != "nothing")
    assert not row_passes(3e-5)
