"""An index is judged by what it points at: either of two equal values is right, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compiler.cases import Case
from compiler.contracts import Array
from compiler.frontend.candidates import thinned
from compiler.validate import stored
from compiler.validate.compare import compare
from compiler.verdicts import OutputVerdict

ROWS, CANDIDATES = 40, 30


def scores(dtype: type = np.float32, candidates: int = CANDIDATES) -> tuple[Array, Array]:
    """The model's own and the oracle's; in each row the two best are the same but for a rounding."""
    wide = np.random.default_rng(0).standard_normal((ROWS, candidates)).astype(dtype).astype(np.float64)
    wide[:, 3] = 5.0
    wide[:, 7] = 5.0 - 2.0**-22
    return (wide * (1 + 2.0**-24)).astype(dtype), wide


def reference(own: Array, wide: Array, chosen: Array, oracle: Array, row: Array) -> Case:
    return Case("one", {}, {}, {"ids": chosen}, {"ids": oracle}, scores={"ids": thinned(own, wide, row, oracle)})


def argmax() -> Case:
    own, wide = scores()
    best = np.full(ROWS, 3)
    return reference(own, wide, best, best, np.arange(ROWS))


def topk(count: int = 4) -> Case:
    own, wide = scores()
    chosen = np.argsort(-wide, axis=-1, kind="stable")[:, :count]
    return reference(own, wide, chosen, chosen, np.broadcast_to(np.arange(ROWS)[:, None], chosen.shape))


def judged(case: Case, got: Array) -> OutputVerdict:
    (found,) = compare([case], [{"ids": got}]).outputs
    return found


def test_the_same_indices_are_exact() -> None:
    for case in (argmax(), topk()):
        found = judged(case, case.outputs["ids"].copy())
        assert (found.passed, found.why, found.flips, found.used) == (True, "exact", 0, 0.0)


def test_the_other_of_two_equal_values_is_right_and_counted() -> None:
    got = argmax().outputs["ids"].copy()
    got[[1, 5, 6]] = 7
    found = judged(argmax(), got)
    assert found.passed
    assert found.flips == 3
    assert found.why == f"3 of {ROWS} indices differ; each points at a value that is the same up to rounding"
    assert 0 < found.used < 1
    assert found.worst is not None and found.worst.index[0] in (1, 5, 6)


def test_another_value_is_wrong() -> None:
    got = argmax().outputs["ids"].copy()
    got[[2, 9]] = 8
    found = judged(argmax(), got)
    assert not found.passed
    assert f"2 of {ROWS} indices point at another value" in found.why


@pytest.mark.parametrize("index", [-1, CANDIDATES, 10**9, -(10**9)])
def test_what_is_no_index_is_wrong(index: int) -> None:
    got = argmax().outputs["ids"].copy()
    got[0] = index
    assert not judged(argmax(), got).passed


def test_equal_values_may_change_places_in_a_topk() -> None:
    got = topk().outputs["ids"].copy()
    got[:, [0, 1]] = got[:, [1, 0]]
    found = judged(topk(), got)
    assert (found.passed, found.flips) == (True, 2 * ROWS)


def test_the_same_index_twice_is_wrong_however_near_its_value() -> None:
    got = topk().outputs["ids"].copy()
    got[4, 1] = got[4, 0]
    found = judged(topk(), got)
    assert (found.passed, found.why) == (False, "an index stands in its row twice")


def test_places_that_are_not_equal_may_not_change() -> None:
    got = topk().outputs["ids"].copy()
    got[0, [2, 3]] = got[0, [3, 2]]
    assert not judged(topk(), got).passed


@pytest.mark.parametrize("extreme", [np.inf, -np.inf, np.nan])
def test_what_stands_at_infinity_is_not_near_to_what_is_not_known(extreme: float) -> None:
    own, wide = scores(candidates=CANDIDATES * 10)
    own[:, 3] = wide[:, 3] = extreme
    best = np.full(ROWS, 3)
    case = reference(own, wide, best, best, np.arange(ROWS))
    got = best.copy()
    got[0] = 50
    assert judged(case, best.copy()).passed
    assert not judged(case, got).passed


def test_masked_candidates_are_equal_to_each_other() -> None:
    own, wide = scores()
    own[:, 10:20] = wide[:, 10:20] = -np.inf
    order = np.argsort(-wide, axis=-1, kind="stable")
    case = reference(own, wide, order, order, np.broadcast_to(np.arange(ROWS)[:, None], order.shape))
    got = order.copy()
    got[:, -10:] = got[:, :-11:-1]
    found = judged(case, got)
    assert found.passed
    assert found.flips == 10 * ROWS


def test_whole_numbers_are_equal_or_not() -> None:
    wide = np.array([[5, 5, 4]])
    case = reference(wide, wide.astype(np.float64), np.array([0]), np.array([0]), np.array([0]))
    assert judged(case, np.array([1])).passed
    assert not judged(case, np.array([2])).passed


def test_a_fault_in_one_case_is_not_made_up_by_another() -> None:
    good, bad = argmax().outputs["ids"].copy(), argmax().outputs["ids"].copy()
    good[0], bad[0] = 7, 8
    assert not compare([argmax(), argmax()], [{"ids": good}, {"ids": bad}]).passed


def test_integers_that_are_no_indices_stay_exact() -> None:
    case = Case("one", {}, {}, {"ids": np.full(3, 3)}, {"ids": np.full(3, 3)})
    assert "must be exact" in judged(case, np.array([3, 7, 3])).why


@pytest.mark.parametrize("limit", [stored.LIMIT, 0], ids=["in full", "thinned"])
def test_a_bundle_keeps_what_its_indices_were_chosen_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(stored, "LIMIT", limit)
    monkeypatch.setattr(stored, "SAMPLE", ROWS // 2)
    case = Case(**{**vars(argmax()), "draw": 0})
    stored.write([case], tmp_path)
    (back,) = stored.read(tmp_path, lambda sizes, draw, kind: {})
    right, wrong = np.full(ROWS, 7), np.full(ROWS, 8)
    assert compare([back.case], [back.thin({"ids": right})]).passed
    assert not compare([back.case], [back.thin({"ids": wrong})]).passed


# -- which candidates are kept ----------------------------------------------------------------------------------


def kept(found: object, row: int) -> list[int]:
    starts, index = (getattr(found, part) for part in ("starts", "index"))
    return list(index[starts[row] : starts[row + 1]])


@pytest.mark.parametrize("each", [1, 3])
def test_of_many_candidates_those_near_a_chosen_one_are_kept(each: int) -> None:
    own, wide = scores(candidates=1000)
    chosen = np.argsort(-wide, axis=-1, kind="stable")[:, :each]
    row = np.broadcast_to(np.arange(ROWS)[:, None], chosen.shape)
    found = thinned(own, wide, row, chosen)
    assert found.index.size < 20 * ROWS
    for at in range(ROWS):
        assert {3, 7, *chosen[at]} <= set(kept(found, at))
        assert kept(found, at) == sorted(kept(found, at))
        np.testing.assert_array_equal(found.values[found.starts[at] : found.starts[at + 1]], wide[at, kept(found, at)])


@pytest.mark.parametrize("rows", [[], [0], [2, 0, 2, 1]])
def test_rows_may_be_left_out_or_come_in_any_order(rows: Sequence[int]) -> None:
    own, wide = scores(candidates=1000)
    found = thinned(own, wide, np.array(rows, np.int64), np.full(len(rows), 3))
    assert [bool(kept(found, at)) for at in range(4)] == [at in rows for at in range(4)]
