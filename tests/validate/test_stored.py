"""Reference cases in a bundle: what is read back is what was written, or a sample of it, or an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from compiler.cases import ORDINARY, Case
from compiler.contracts import Arrays
from compiler.errors import CompileError
from compiler.validate import stored
from compiler.validate.compare import compare
from compiler.validate.contract import parse
from compiler.validate.units import units as compare_units
from compiler.verdicts import Terms

ELEMENTS = 3 * stored.SAMPLE


def inputs(sizes: Mapping[str, int], draw: int, kind: str = ORDINARY) -> Arrays:
    rng = np.random.default_rng([draw, *sizes.values()])
    return {"x": rng.standard_normal((sizes["n"], 4), np.float32), "cache.0": rng.integers(0, 9, 5)}


def drawn(n: int, draw: int | None = 0, dtype: type = np.float32) -> Case:
    sizes = {"n": n}
    rng = np.random.default_rng(n)
    oracle = {"y": rng.standard_normal((n, 2)), "scalar": np.array(0.5), "empty": np.zeros((0, 3))}
    outputs = {name: array.astype(dtype) for name, array in oracle.items()}
    return Case(f"n={n}", sizes, inputs(sizes, draw or 0), outputs, oracle, draw)


def never(sizes: Mapping[str, int], draw: int, kind: str) -> Arrays:
    raise AssertionError("nothing needs to be drawn again")


def same(one: Arrays, other: Arrays) -> None:
    assert list(one) == list(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        assert one[name].tobytes() == other[name].tobytes()


@pytest.fixture
def thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LIMIT", 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.bool_])
def test_small_cases_come_back_in_full(tmp_path: Path, dtype: type) -> None:
    cases = [drawn(2, 0, dtype), drawn(5, 1, dtype), drawn(3, None, dtype)]
    stored.write(cases, tmp_path)
    for case, back in zip(cases, stored.read(tmp_path, never), strict=True):
        assert (back.case.name, back.case.sizes, back.case.draw) == (case.name, case.sizes, case.draw)
        same(back.case.inputs, case.inputs)
        same(back.case.outputs, case.outputs)
        same(back.case.oracle, case.oracle)
        same(back.thin(case.outputs), case.outputs)


def test_bfloat16_inputs_survive(tmp_path: Path) -> None:
    x = np.array([1.5, -2, np.nan]).astype(ml_dtypes.bfloat16)
    stored.write([Case("given", {}, {"x": x}, {"y": x}, {"y": x.astype(np.float64)})], tmp_path)
    (back,) = stored.read(tmp_path, never)
    same(back.case.inputs, {"x": x})


def test_a_large_case_keeps_a_sample_and_draws_its_inputs_again(tmp_path: Path, thinned: None) -> None:
    case = drawn(ELEMENTS, 1)
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, inputs)
    same(back.case.inputs, case.inputs)
    assert back.case.outputs["y"].size == stored.SAMPLE
    assert back.case.outputs["scalar"].size == 1
    thin = back.thin(case.outputs)
    same(thin, back.case.outputs)
    assert compare([back.case], [thin]).passed
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100 * 2**10


def test_a_fault_in_a_large_case_is_still_found(tmp_path: Path, thinned: None) -> None:
    case = drawn(ELEMENTS)
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, inputs)
    wrong = {**case.outputs, "y": case.outputs["y"] * np.float32(1.001)}
    assert not compare([back.case], [back.thin(wrong)]).passed


def test_what_a_sample_is_held_against_was_measured_on_everything(tmp_path: Path, thinned: None) -> None:
    """The element that PyTorch gets most wrong widens the budget, and is not in the sample."""
    case = drawn(ELEMENTS)
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, inputs)
    left_out = np.setdiff1d(np.arange(2 * ELEMENTS), back.positions["y"])[0]
    case.outputs["y"].reshape(-1)[left_out] += 1
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, inputs)
    measured = stored.read_units(tmp_path)
    assert measured == compare_units([case])
    answer = [back.thin({**case.outputs, "y": case.outputs["y"] + np.float32(0.001)})]
    assert not compare([back.case], answer).passed
    assert (
        compare([back.case], answer, measured).passed
        == compare([case], [{**case.outputs, "y": case.outputs["y"] + np.float32(0.001)}]).passed
    )


def test_what_full_cases_are_held_against_is_kept_as_well(tmp_path: Path) -> None:
    cases = [drawn(3), replace(drawn(3), kind="large")]
    stored.write(cases, tmp_path)
    assert stored.read_units(tmp_path) == compare_units(cases)
    assert [back.case.kind for back in stored.read(tmp_path, never)] == ["ordinary", "large"]


@pytest.mark.parametrize("shape", [(2, ELEMENTS), (2 * ELEMENTS,), (ELEMENTS, 2, 1), (ELEMENTS - 1, 2)])
def test_a_wrong_shape_of_a_large_case_is_still_found(tmp_path: Path, thinned: None, shape: tuple[int, ...]) -> None:
    case = drawn(ELEMENTS)
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, inputs)
    wrong = {**case.outputs, "y": np.resize(case.outputs["y"], shape)}
    verdict = compare([back.case], [back.thin(wrong)])
    assert [one.output for one in verdict.outputs if not one.passed] == ["y"]


def test_samples_of_different_cases_lie_at_different_places(tmp_path: Path, thinned: None) -> None:
    stored.write([drawn(ELEMENTS, 0), drawn(ELEMENTS, 1)], tmp_path)
    one, other = stored.read(tmp_path, inputs)
    assert not np.array_equal(one.positions["y"], other.positions["y"])


def test_given_data_is_kept_whatever_its_size(tmp_path: Path, thinned: None) -> None:
    """It cannot be drawn again."""
    case = drawn(ELEMENTS, None)
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, never)
    same(back.case.inputs, case.inputs)
    assert back.case.outputs["y"].size == stored.SAMPLE


def test_a_model_without_inputs_has_nothing_to_draw(tmp_path: Path, thinned: None) -> None:
    case = Case("constant", {}, {}, {"y": np.ones(2)}, {"y": np.ones(2)}, 0)
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, lambda sizes, draw, kind: {})
    assert back.case.inputs == {}


def test_the_limit_goes_to_the_first_cases_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LIMIT", 1000)
    stored.write([drawn(5), drawn(ELEMENTS), drawn(3)], tmp_path)
    assert [bool(entry["kept"]) for entry in json.loads((tmp_path / "cases.json").read_text())] == [False, True, False]


@pytest.mark.parametrize(
    "other",
    [
        lambda sizes, draw, kind: inputs(sizes, draw + 1),
        lambda sizes, draw, kind: {**inputs(sizes, draw), "x": inputs(sizes, draw)["x"].astype(np.float64)},
        lambda sizes, draw, kind: {**inputs(sizes, draw), "x": inputs(sizes, draw)["x"].T},
        lambda sizes, draw, kind: {"x": inputs(sizes, draw)["x"]},
        lambda sizes, draw, kind: {},
    ],
    ids=["other numbers", "other dtype", "other shape", "an input less", "nothing"],
)
def test_inputs_that_are_not_drawn_alike_are_an_error(tmp_path: Path, thinned: None, other: stored.Redraw) -> None:
    stored.write([drawn(ELEMENTS)], tmp_path)
    with pytest.raises(CompileError) as caught:
        stored.read(tmp_path, other)
    assert caught.value.code == "reference-lost"
    assert f"n={ELEMENTS}" in caught.value.message


@pytest.mark.parametrize(
    ("text", "shape"), [("y:kl<=0.1", (2, 3000)), ("y:mine.py:close", (2, 5, 3000)), ("scalar:psnr>=40", (4096,))]
)
def test_what_a_contract_speaks_of_is_kept_so_that_it_can_be_judged_again(
    tmp_path: Path, thinned: None, monkeypatch: pytest.MonkeyPatch, text: str, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(stored, "ROWS", 2 * 3000 + 5)
    wide = {"y": np.random.default_rng(0).standard_normal((2, 5, 3000)), "scalar": np.array(0.5)}
    case = Case("one", {}, {}, {name: array.astype(np.float32) for name, array in wide.items()}, wide, 0)
    terms = Terms((parse(text, lambda reference: lambda got, want: got.shape == (2, 5, 3000)),))
    stored.write([case], tmp_path, terms)
    (back,) = stored.read(tmp_path, lambda sizes, draw, kind: {})
    assert back.case.outputs["y"].shape == shape
    same(back.thin(case.outputs), back.case.outputs)
    assert compare([back.case], [back.thin(case.outputs)], terms=terms).passed
