"""Data of other kinds: what each is, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.cases import ORDINARY
from compiler.frontend.draws import KINDS, of_kind, shaken
from compiler.frontend.examples import numpy_dtype
from compiler.frontend.program import InputRange
from compiler.frontend.reference import ReferencePlan
from compiler.frontend.specs import parse

SPECS = ["x:float32[40,50]", "ids:int64[4,9]", "mask:int64[4,9]", "noise:float32[40,50]"]
RANGES = {"ids": InputRange(0, 100), "noise": InputRange(0, 1, noise=True)}
PLAN = ReferencePlan(parse(SPECS).tensors, RANGES)
USUAL = PLAN.inputs({}, 0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_noise_stay_as_they_are(kind: str) -> None:
    found = PLAN.inputs({}, 0, kind)
    for name in ("mask", "noise"):
        np.testing.assert_array_equal(found[name], USUAL[name])
    assert {name: array.dtype for name, array in found.items()} == {name: array.dtype for name, array in USUAL.items()}


def test_each_kind_is_what_it_is_called() -> None:
    found = {kind: PLAN.inputs({}, 0, kind) for kind in KINDS}
    assert np.abs(found["tiny"]["x"]).max() < 1e-3
    assert np.abs(found["large"]["x"]).std() > 100
    heavy = np.abs(found["heavy-tailed"]["x"])
    assert heavy.max() > 10 * heavy.std()
    assert (found["constant"]["x"] == found["constant"]["x"][:, :1]).all()
    assert len(np.unique(found["constant"]["x"])) == 40
    assert (found["constant"]["ids"] == found["constant"]["ids"][:, :1]).all()
    assert not found["zeros"]["x"].any()
    assert not found["zeros"]["ids"].any()


def test_the_same_kind_is_drawn_again_alike() -> None:
    for kind in KINDS:
        np.testing.assert_array_equal(PLAN.inputs({}, 1, kind)["x"], PLAN.inputs({}, 1, kind)["x"])


def test_noise_lies_where_it_is_drawn() -> None:
    for dtype in ("float32", "float16", "bfloat16", "float64"):
        specs = parse([f"noise:{dtype}[5000]"]).tensors
        drawn = ReferencePlan(specs, {"noise": InputRange(0, 1, noise=True)}).inputs({}, 0)["noise"].astype(np.float64)
        assert 0 <= drawn.min() < 0.01
        assert 0.99 < drawn.max() < 1


def test_ordinary_indices_reach_the_last_row() -> None:
    for seed in range(20):
        assert ReferencePlan(PLAN.specs, RANGES, seed=seed).inputs({}, 0)["ids"].max() == 99


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_what_is_shaken_is_off_by_a_rounding(dtype: str) -> None:
    x = USUAL["x"].astype(numpy_dtype(dtype))
    moved = shaken({"x": x, "ids": USUAL["ids"]}, rng())
    off = np.abs(moved["x"].astype(np.float64) - x.astype(np.float64))
    epsilon = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float64": 2.0**-52}[dtype]
    assert 0.1 * epsilon < off.mean() < 2 * epsilon
    np.testing.assert_array_equal(moved["ids"], USUAL["ids"])
    assert shaken({"x": np.zeros(9, np.float32)}, rng())["x"].any()


def test_ordinary_data_stays_ordinary() -> None:
    found = of_kind(ORDINARY, USUAL, RANGES, rng())
    assert all(found[name] is USUAL[name] for name in USUAL)
