"""What is a regression, what is noise, and what `--update` may write down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.check import judge
from compiler.check.cells import Cell, Failure, Figures, Measured, Numbers, failed
from compiler.check.manifest import Entry
from compiler.check.update import described, updated
from compiler.errors import CompileError, Exit, UnavailableError

ENTRY = Entry("net", "net.py:build", ("onnxruntime",))
CELL = Cell("net", "onnxruntime")
BEFORE = Figures(
    precision="float32",
    ran=True,
    bytes=1000,
    fusions={"Attention": 2, "Gelu": 4},
    versions={"onnxruntime": "1.31.1", "torch": "2.13.0"},
    outputs={"y": Numbers(0.08, 0.9, 1e-6)},
)


def judged(now: Figures, entry: Entry = ENTRY, before: Figures | None = BEFORE, **measured: Any) -> judge.Judged:
    status = "failed" if measured.get("why") else "passed" if now.ran else "not run"
    return judge.judge(
        entry, "onnxruntime", Measured(status, now, **measured), {CELL: before} if before is not None else {}
    )


def with_numbers(used: float, rms: float = 0.9) -> Figures:
    return replace(BEFORE, outputs={"y": Numbers(used, rms, 1e-6)})


def failing(one: judge.Judged) -> list[str]:
    return [finding.kind for finding in one.findings if finding.fails]


def messages(one: judge.Judged) -> str:
    return "\n".join(finding.message for finding in one.findings)


# -- numbers ----------------------------------------------------------------------------------------------------


def test_what_is_as_it_was_is_not_spoken_of() -> None:
    assert judged(BEFORE).findings == ()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (0.08, 0.80),  # inside the budget, and ten times as far off
        (0.20, 0.99),
        (0.01, 0.50),
        (0.0, 0.30),  # exact before
    ],
)
def test_a_worst_element_far_above_the_lock_fails(before: float, now: float) -> None:
    found = judged(with_numbers(now), before=with_numbers(before))
    assert failing(found) == ["worse"]
    assert "'y' got worse: its worst element uses" in messages(found)


@pytest.mark.parametrize(
    ("before", "now"),
    [(0.08, 0.16), (0.08, 0.24), (0.20, 0.45), (0.001, 0.2), (0.6, 1.0)],
)
def test_noise_of_a_worst_element_is_quiet(before: float, now: float) -> None:
    assert not judged(with_numbers(now), before=with_numbers(before)).failed


@pytest.mark.parametrize(
    ("before", "now", "fails"),
    [(0.9, 3.0, True), (0.9, 1.5, False), (0.1, 0.9, False), (0.1, 1.1, True), (3.0, 7.0, True)],
)
def test_the_error_of_all_elements_is_held_more_closely(before: float, now: float, fails: bool) -> None:
    """Nothing that is as exact as PyTorch itself is a regression: up to one unit nobody asks."""
    found = judged(with_numbers(0.1, now), before=with_numbers(0.1, before))
    assert failing(found) == (["worse"] if fails else [])


def test_few_elements_tell_little_and_get_slack() -> None:
    now, before = with_numbers(0.1, 2.7), with_numbers(0.1, 0.9)
    assert judged(now, before=before).failed
    assert not judged(now, before=before, slack={"y": 2.0}).failed


def test_what_leaves_its_budget_fails_for_that_reason_alone() -> None:
    found = judged(with_numbers(40.0, 300.0), why={"y": "off by a mile (batch=3)"})
    assert failing(found) == ["numbers-differ"]
    assert "off by a mile (batch=3)" in messages(found)


def test_what_got_better_is_a_remark() -> None:
    found = judged(with_numbers(0.05), before=with_numbers(0.7))
    assert not found.failed
    assert "--update holds it to that" in messages(found)


def test_a_regression_says_what_else_is_new() -> None:
    now = replace(with_numbers(0.8), versions={"onnxruntime": "1.32.0", "torch": "2.13.0"})
    assert "(since then: onnxruntime 1.31.1 → 1.32.0)" in messages(judged(now))


def test_other_versions_alone_are_no_failure() -> None:
    assert judged(replace(BEFORE, versions={"onnxruntime": "1.32.0", "torch": "2.13.0"})).findings == ()


def test_an_output_that_is_new_or_gone_fails() -> None:
    found = judged(replace(BEFORE, outputs={"z": Numbers(0.1, 0.9, 1e-6)}))
    assert failing(found) == ["not-in-lock", "output-gone"]


# -- everything else --------------------------------------------------------------------------------------------


def test_a_fusion_that_vanished_fails_and_says_why_it_was_declined() -> None:
    declined = {"fuse-attention": ("softmax_3: the mask is not broadcastable",), "fuse-gelu": ("erf_1: no half",)}
    found = judged(replace(BEFORE, fusions={"Attention": 1, "Gelu": 5}), declined=declined)
    assert failing(found) == ["fusion-vanished"]
    assert "1 of 2 Attention are gone" in messages(found)
    assert "softmax_3: the mask is not broadcastable" in messages(found)
    assert "erf_1" not in messages(found)


def test_another_precision_fails() -> None:
    found = judged(replace(BEFORE, precision="bfloat16"))
    assert failing(found) == ["precision-changed"]
    assert "it computes in bfloat16, and in float32 before" in messages(found)


def test_a_larger_artifact_is_a_remark() -> None:
    found = judged(replace(BEFORE, bytes=2000))
    assert not found.failed
    assert "it has grown from 1000 B to 2.0 KiB" in messages(found)


def test_built_only_fails_unless_the_manifest_allows_it_by_name() -> None:
    now = replace(BEFORE, ran=False)
    assert failing(judged(now)) == ["built-not-run"]
    allowing = replace(ENTRY, may_only_be_built=("onnxruntime",))
    assert not judged(now, allowing).failed
    assert "when the lock was written it ran" in messages(judged(now, allowing))
    assert failing(judged(now, replace(ENTRY, may_only_be_built=("tensorrt",)))) == ["built-not-run"]


def test_expectations_are_held_without_hiding_the_numbers() -> None:
    entry = replace(ENTRY, expect={"Attention": 3, "Conv": 53})
    found = judged(with_numbers(0.8), entry, operators={"Attention": 2, "Conv": 53})
    assert failing(found) == ["expectation", "worse"]
    assert "expects 3 Attention, and there are 2" in messages(found)


def test_what_is_not_in_the_lock_fails() -> None:
    assert failing(judged(BEFORE, before=None)) == ["not-in-lock"]


def test_an_update_is_not_recommended_where_it_would_not_help() -> None:
    for now, said in ((with_numbers(40.0), {"y": "off by a mile"}), (replace(BEFORE, ran=False), {})):
        assert "--update" not in messages(judged(now, before=None, why=said))


def test_what_only_the_lock_has_fails() -> None:
    found = judge.gone([ENTRY], {CELL: BEFORE, Cell("old", "tvm"): BEFORE})
    assert [(str(one.cell), failing(one)) for one in found] == [("old on tvm", ["gone"])]


UNAVAILABLE = failed(UnavailableError("target-unavailable", "tvm is not available", why="no tvm", hint="install it"))
BROKEN = failed(CompileError("export-failed", "it cannot be captured", why="a loop"))


def test_a_target_that_is_not_there_was_skipped_and_that_fails() -> None:
    found = judge.judge(ENTRY, "onnxruntime", UNAVAILABLE, {CELL: BEFORE})
    assert [(finding.kind, finding.exit_code) for finding in found.findings] == [("skipped", Exit.DIFFERS)]
    assert messages(found) == "tvm is not available; why: no tvm; try: install it"


def test_what_cannot_be_compiled_keeps_its_own_exit_code() -> None:
    found = judge.judge(ENTRY, "onnxruntime", BROKEN, {CELL: BEFORE})
    assert [(finding.kind, finding.exit_code) for finding in found.findings] == [("export-failed", Exit.COMPILE)]


@pytest.mark.parametrize(
    ("measured", "kinds"),
    [
        (BROKEN, []),
        (Measured("failed", BEFORE, why={"y": "off by a mile"}), []),
        (Measured("passed", BEFORE), ["no-failure"]),
        (UNAVAILABLE, ["skipped"]),
    ],
)
def test_a_known_failure_is_strict(measured: Measured, kinds: list[str]) -> None:
    entry = replace(ENTRY, known_failures={"onnxruntime": "its parser stumbles"})
    assert failing(judge.judge(entry, "onnxruntime", measured, {})) == kinds


def test_the_exit_code_is_the_worst() -> None:
    def code(*codes: Exit) -> Exit:
        return judge.exit_code(
            judge.Judged(CELL, Measured("error", failure=Failure("x", "x", one)), None, (judge.Finding("x", "x", one),))
            for one in codes
        )

    assert code() == Exit.OK
    assert code(Exit.OK, Exit.COMPILE) == Exit.COMPILE
    assert code(Exit.COMPILE, Exit.DIFFERS) == Exit.DIFFERS
    assert code(Exit.BUG, Exit.DIFFERS) == Exit.BUG


# -- --update ---------------------------------------------------------------------------------------------------


def test_an_update_takes_what_is_new_worse_or_better() -> None:
    for now in (with_numbers(0.8), with_numbers(0.001, 0.01), replace(BEFORE, fusions={})):
        before = with_numbers(0.08, 0.9) if now.outputs["y"].used > 0.01 else with_numbers(0.9, 5.0)
        assert updated({CELL: before}, [judged(now, before=before)]) == {CELL: now}
    assert updated({}, [judged(BEFORE, before=None)]) == {CELL: BEFORE}


def test_an_update_leaves_noise_alone() -> None:
    assert updated({CELL: BEFORE}, [judged(with_numbers(0.1, 1.1))]) == {CELL: BEFORE}


def test_an_update_takes_numbers_with_their_versions() -> None:
    now = replace(with_numbers(0.1, 1.1), versions={"onnxruntime": "1.32.0", "torch": "2.13.0"})
    assert updated({CELL: BEFORE}, [judged(now)]) == {CELL: now}


def test_an_update_never_makes_a_failure_the_rule() -> None:
    locked = {CELL: BEFORE}
    wrong = judged(with_numbers(40.0), why={"y": "off by a mile"})
    not_run = judged(replace(BEFORE, ran=False))
    unexpected = judged(with_numbers(0.8), replace(ENTRY, expect={"Attention": 3}))
    broken = judge.judge(ENTRY, "onnxruntime", BROKEN, locked)
    known = replace(ENTRY, known_failures={"onnxruntime": "its parser stumbles"})
    for one in (wrong, not_run, unexpected, broken, judged(with_numbers(40.0), known, why={"y": "off"})):
        assert updated(locked, [one]) == locked
        assert updated({}, [one]) == {}


def test_numbers_of_a_graph_and_of_a_run_are_not_compared_and_never_replace_each_other_but_one_way() -> None:
    entry = replace(ENTRY, may_only_be_built=("onnxruntime",))
    graph, ran = replace(with_numbers(0.02, 0.1), ran=False), with_numbers(0.9, 5.0)
    now_it_runs = judged(ran, entry, before=graph)
    assert [finding.kind for finding in now_it_runs.findings] == ["runs-now"]
    assert not now_it_runs.failed
    assert updated({CELL: graph}, [now_it_runs]) == {CELL: ran}
    now_it_does_not = judged(graph, entry, before=ran)
    assert not now_it_does_not.failed
    assert updated({CELL: ran}, [now_it_does_not]) == {CELL: ran}


def test_an_update_takes_out_what_is_gone() -> None:
    old = Cell("old", "tvm")
    locked = {CELL: BEFORE, old: BEFORE}
    after = updated(locked, judge.gone([ENTRY], locked))
    assert after == {CELL: BEFORE}
    assert described(locked, after) == "1 gone"
    assert described({}, locked) == "2 new"
    assert described(locked, {**locked, old: with_numbers(0.5)}) == "1 changed"
    assert described(locked, locked) == "nothing new"


# -- edge behaviour ---------------------------------------------------------------------------------------------

EDGY = replace(BEFORE, edges={"NaN in x: y": "a number for a NaN"})


@pytest.mark.parametrize("before", [BEFORE, replace(BEFORE, edges={"NaN in x: y": "NaN for a number"})])
def test_an_edge_behaviour_that_the_lock_does_not_have_fails(before: Figures) -> None:
    found = judged(EDGY, before=before)
    assert failing(found) == ["edge-differs"]
    assert "NaN in x: y: a number for a NaN" in messages(found)
    assert judge.acceptable(found)


def test_an_edge_behaviour_that_the_lock_has_is_quiet_and_one_that_is_gone_is_told() -> None:
    assert judged(EDGY, before=EDGY).findings == ()
    found = judged(BEFORE, before=EDGY)
    assert not found.failed
    assert "as PyTorch does, a number for a NaN before" in messages(found)
