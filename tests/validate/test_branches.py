"""A decision near its boundary may go either way; nothing else may."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.cases import Branch, Case, Decision, Reference
from compiler.contracts import Array, Arrays
from compiler.errors import CompileError
from compiler.validate import stored
from compiler.validate.branches import MOST, kept
from compiler.validate.judge import judge_again, judge_either_way
from compiler.validate.units import units
from compiler.verdicts import Terms

SIZE = 64


def decision(row: int) -> Decision:
    return Decision("topk 4x8 1", row, (1.0,), (2.0,), 0.5, "net.py:7")


def answered(taken: Sequence[Decision], *, bits: int = 24) -> dict[str, Array]:
    """Each decision makes another row of the output, and one whole number."""
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((2, 4, SIZE))
    for one in taken:
        rows[one.row] = others[one.row]
    counts = np.zeros(4, np.int64)
    counts[[one.row for one in taken]] = 1
    noise = rng.standard_normal(rows.shape) * 2.0**-bits if bits < 64 else 0.0
    return {"y": rows + noise, "counts": counts}


def narrow(arrays: Arrays) -> dict[str, Array]:
    return {name: array.astype(np.float32) if name == "y" else array for name, array in arrays.items()}


def case(rows: Sequence[int], name: str = "n=4") -> Case:
    oracle = answered((), bits=64)
    close = tuple(map(decision, rows))
    return Case(name, {}, {"x": np.zeros(1, np.float32)}, narrow(answered(())), oracle, None, close=close)


class Model:
    """Computes what it is asked for, and counts that."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, of: Case, taken: tuple[Decision, ...]) -> Branch:
        self.asked.append(tuple(one.row for one in taken))
        left = tuple(one for one in of.close if one not in taken)
        return Branch(taken, narrow(answered(taken)), answered(taken, bits=64), left)


def artifact(*rows: int) -> dict[str, Array]:
    """Honest, with these decisions taken the other way."""
    found = answered([decision(row) for row in rows])
    rng = np.random.default_rng(1)
    return narrow({**found, "y": found["y"] + rng.standard_normal(found["y"].shape) * 2.0**-24})


def verdict_on(cases: Sequence[Case], answer: Arrays, otherwise: Model | None = None) -> tuple[Reference, bool]:
    reference, verdict = judge_either_way(
        Reference(tuple(cases), "PyTorch", 0), lambda _: dict(answer), Terms(), otherwise or Model()
    )
    return reference, verdict.passed


def test_an_artifact_that_decides_as_pytorch_does_asks_for_nothing() -> None:
    model = Model()
    reference, passed = verdict_on([case([0, 1, 2])], artifact(), model)
    assert passed and not model.asked and not reference.cases[0].branches


@pytest.mark.parametrize("rows", [(0,), (2,), (0, 1), (0, 2), (0, 1, 2)])
def test_other_choices_are_accepted_and_counted(rows: tuple[int, ...]) -> None:
    reference, verdict = judge_either_way(
        Reference((case([0, 1, 2]),), "PyTorch", 0), lambda _: artifact(*rows), Terms(), Model()
    )
    assert verdict.passed
    assert [output.flips for output in verdict.outputs] == [len(rows)] * 2
    assert f"{len(rows)} decision" in verdict.notes[0] and "topk at net.py:7" in verdict.notes[0]
    assert [{one.row for one in branch.taken} for branch in reference.cases[0].branches][-1] == set(rows)


def test_a_choice_that_is_not_near_is_refused() -> None:
    model = Model()
    assert not verdict_on([case([0, 1])], artifact(3), model)[1]
    assert model.asked == [(0,), (1,)]


def test_a_case_without_near_decisions_asks_for_nothing() -> None:
    model = Model()
    assert not verdict_on([case([])], artifact(0), model)[1]
    assert not model.asked


@pytest.mark.parametrize("size", [1e-5, 1.0, np.nan])
def test_a_fault_beside_an_accepted_choice_is_refused(size: float) -> None:
    answer = artifact(0)
    answer["y"][2, 5] += size
    assert not verdict_on([case([0])], answer)[1]


def test_a_fault_in_what_follows_from_the_choice_is_refused() -> None:
    answer = artifact(0)
    answer["y"][0] *= 1.0001
    assert not verdict_on([case([0])], answer)[1]


def test_a_fault_elsewhere_ends_the_search() -> None:
    """The first case that nothing explains."""
    model = Model()
    cases = [case([], "one"), case([0, 1, 2], "two")]
    assert not verdict_on(cases, artifact(0), model)[1]
    assert not model.asked


def test_a_case_that_fits_takes_no_other_choice() -> None:
    reference, passed = verdict_on([case([0], "one"), case([0], "two")], artifact())
    assert passed
    one, two = case([0], "one"), case([0], "two")
    answers = iter([artifact(), artifact(0)])
    reference, verdict = judge_either_way(
        Reference((one, two), "PyTorch", 0), lambda _: next(answers), Terms(), Model()
    )
    assert verdict.passed
    assert [len(found.branches) for found in reference.cases] == [0, 1]


def test_no_more_are_tried_than_is_allowed() -> None:
    model = Model()
    many = replace(case([]), close=tuple(replace(decision(0), site=f"topk {n}") for n in range(2 * MOST)))
    _, verdict = judge_either_way(Reference((many,), "PyTorch", 0), lambda _: artifact(1), Terms(), model)
    assert not verdict.passed and len(model.asked) == MOST
    assert f"{MOST} decisions are within rounding of another choice" in " ".join(verdict.notes)


def test_a_missing_output_is_missing_whatever_was_decided() -> None:
    answer = artifact(0)
    del answer["counts"]
    assert not verdict_on([case([0])], answer)[1]


# -- again, from a bundle ----------------------------------------------------------------------------------------


def again(folder: Path, reference: Reference, answer: Arrays, *notes: str) -> tuple[bool, str]:
    stored.write(reference.cases, folder, edges=reference.edges)
    read = stored.read_reference(folder, _never, notes)
    verdict = judge_again(read, lambda _: dict(answer), Terms())
    return verdict.passed, " ".join(verdict.notes)


def _never(*_: object) -> Arrays:
    raise AssertionError("nothing needs to be drawn again")


def test_verify_comes_to_the_same_verdict(tmp_path: Path) -> None:
    reference, passed = verdict_on([case([0, 1, 2])], artifact(0, 2))
    assert passed
    same, notes = again(tmp_path, reference, artifact(0, 2))
    assert same and "2 decisions (topk at net.py:7)" in notes


def test_verify_refuses_a_fault_beside_the_choice(tmp_path: Path) -> None:
    reference, _ = verdict_on([case([0, 1, 2])], artifact(0, 2))
    answer = artifact(0, 2)
    answer["y"][3] *= 1.001
    assert not again(tmp_path, reference, answer)[0]


def test_verify_says_what_it_cannot_ask_for(tmp_path: Path) -> None:
    reference, _ = verdict_on([case([0, 1])], artifact())
    passed, notes = again(tmp_path, reference, artifact(1))
    assert not passed and "is not in the bundle" in notes and "compile it again" in notes


def test_a_thinned_case_keeps_its_branches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LIMIT", 0)
    monkeypatch.setattr(stored, "SAMPLE", 2 * SIZE)
    reference, _ = verdict_on([case([0, 1, 2])], artifact(0, 1, 2))
    assert again(tmp_path, reference, artifact(0, 1, 2))[0]


def test_a_branch_comes_back_as_it_was(tmp_path: Path) -> None:
    reference, _ = verdict_on([case([0, 1, 2])], artifact(0, 2))
    stored.write(reference.cases, tmp_path)
    (back,) = stored.read_reference(tmp_path, _never).cases
    (was,) = reference.cases
    assert back.case.close == was.close
    for have, want in zip(back.case.branches, was.branches, strict=True):
        assert (have.taken, have.close) == (want.taken, want.close)
        np.testing.assert_array_equal(have.oracle["y"], want.oracle["y"])
        np.testing.assert_array_equal(have.outputs["y"], want.outputs["y"])
        assert kept(back.case, have.taken[::-1]) is have


def test_what_an_earlier_version_wrote_has_no_decisions(tmp_path: Path) -> None:
    stored.write([case([0])], tmp_path)
    entries = json.loads((tmp_path / "cases.json").read_text())
    for name in ("close", "unlisted", "branches"):
        del entries[0][name]
    (tmp_path / "cases.json").write_text(json.dumps(entries))
    (back,) = stored.read_reference(tmp_path, _never).cases
    assert back.case.close == back.case.branches == ()


@pytest.mark.parametrize("key", ["kind", "scores", "input_sha256", "dtypes"])
def test_a_reference_that_lacks_something_is_told_as_such(tmp_path: Path, key: str) -> None:
    stored.write([case([0])], tmp_path)
    entries = json.loads((tmp_path / "cases.json").read_text())
    del entries[0][key]
    (tmp_path / "cases.json").write_text(json.dumps(entries))
    with pytest.raises(CompileError, match="cannot be read") as error:
        stored.read_reference(tmp_path, _never)
    assert error.value.code == "broken-bundle" and key in str(error.value.why)


@pytest.mark.parametrize("file", ["cases.json", "units.json", "case-0.npz"])
def test_a_reference_without_one_of_its_files_is_told_as_such(tmp_path: Path, file: str) -> None:
    stored.write([case([0])], tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(CompileError) as error:
        stored.read_reference(tmp_path, _never)
    assert error.value.code == "broken-bundle"


def test_branches_do_not_widen_the_units() -> None:
    reference, _ = verdict_on([case([0, 1, 2])], artifact(0, 2))
    assert units(reference.cases) == units([case([0, 1, 2])])
