"""A contract decides for the outputs that it names, in every case; what makes no sense is told at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compiler.cases import Case
from compiler.contracts import Array, Signature, TensorSpec
from compiler.errors import CompileError, PlumblineError, UsageError
from compiler.validate.compare import compare
from compiler.validate.contract import fits, parse, refuse_unheld, tolerance
from compiler.verdicts import OutputVerdict, Terms

Function = Callable[[Array, Array], Any]


def never(reference: str) -> Function:
    raise AssertionError(f"{reference} is no function")


def terms(*texts: str, function: Function | None = None, **tolerances: float) -> Terms:
    load = never if function is None else lambda reference: function
    return Terms(tuple(parse(text, load) for text in texts), **tolerances)


def logits(seed: int, rows: int = 200) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, 10))


def cases(count: int = 2) -> list[Case]:
    found = []
    for number in range(count):
        wide = {"logits": logits(number), "hidden": logits(number + 100, 8)}
        outputs = {name: array.astype(np.float32) for name, array in wide.items()}
        ids = np.argmax(outputs["logits"], axis=-1)
        found.append(Case(f"case {number}", {}, {}, {**outputs, "ids": ids}, {**wide, "ids": ids}))
    return found


def answers(change: Callable[[Array], Array], output: str = "logits") -> list[dict[str, Array]]:
    return [{**one.outputs, output: change(one.outputs[output].copy())} for one in cases()]


def noisy(share: float) -> Callable[[Array], Array]:
    """As a quantised model would be: far beyond rounding."""

    def change(array: Array) -> Array:
        noise = np.random.default_rng(9).standard_normal(array.shape)
        return (array + share * noise).astype(array.dtype)

    return change


def verdict(asked: Terms, got: list[dict[str, Array]], output: str = "logits") -> OutputVerdict:
    (found,) = [one for one in compare(cases(), got, terms=asked).outputs if one.output == output]
    return found


# -- what it decides --------------------------------------------------------------------------------------------


def test_without_a_contract_the_budget_decides() -> None:
    found = verdict(Terms(), answers(noisy(0.01)))
    assert (found.passed, found.decided, found.promises) == (False, "budget", ())


@pytest.mark.parametrize(
    ("text", "share", "passes"),
    [
        ("cosine>=0.999", 0.01, True),
        ("cosine>=0.999", 0.2, False),
        ("logits:top1>=0.98", 0.01, True),
        ("logits:top1>=0.98", 0.3, False),
        ("psnr>=40", 0.01, True),
        ("psnr>=40", 0.2, False),
        ("kl<=0.001", 0.01, True),
        ("kl<=0.001", 0.3, False),
        ("logits:equal>=0.9", 0.0, True),
        ("logits:equal>=0.9", 0.01, False),
    ],
)
def test_a_metric_decides_and_the_budget_is_told_all_the_same(text: str, share: float, passes: bool) -> None:
    found = verdict(terms(text), answers(noisy(share)))
    assert (found.passed, found.decided) == (passes, "contract")
    assert found.used == verdict(Terms(), answers(noisy(share))).used
    assert [promise.text for promise in found.promises] == [text]


def test_it_must_hold_in_every_case_and_the_mean_is_told() -> None:
    got = [dict(one.outputs) for one in cases()]
    got[1]["logits"] = -got[1]["logits"]
    (promise,) = verdict(terms("cosine>=-0.5"), got).promises
    assert (promise.passed, promise.case) == (False, "case 1")
    assert promise.worst == pytest.approx(-1)
    assert promise.mean == pytest.approx(0, abs=1e-6)


def test_several_clauses_must_all_hold() -> None:
    found = verdict(terms("logits:cosine>=0.9", "logits:psnr>=90"), answers(noisy(0.01)))
    assert [promise.passed for promise in found.promises] == [True, False]
    assert not found.passed
    assert "psnr>=90" in found.why


def test_what_it_does_not_name_is_held_to_the_budget() -> None:
    asked = terms("logits:cosine>=0.9")
    assert verdict(asked, answers(noisy(0.01), "hidden"), "hidden").decided == "budget"
    assert not verdict(asked, answers(noisy(0.01), "hidden"), "hidden").passed


def test_one_that_names_nothing_leaves_integers_exact() -> None:
    found = verdict(terms("cosine>=0.9"), answers(lambda ids: np.roll(ids, 1), "ids"), "ids")
    assert (found.passed, found.decided) == (False, "budget")


def test_integers_may_have_a_contract_of_their_own() -> None:
    def one_off(ids: Array) -> Array:
        ids[0] += 1
        return ids

    assert verdict(terms("ids:equal>=0.99"), answers(one_off, "ids"), "ids").passed
    assert not verdict(terms("ids:equal>=0.999"), answers(one_off, "ids"), "ids").passed


@pytest.mark.parametrize("text", ["cosine>=-1", "psnr>=-999", "kl<=1e9", "top1>=0", "equal>=0"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_contract_lets_a_nan_or_an_infinity_through(text: str, value: float) -> None:
    def poisoned(array: Array) -> Array:
        array[3, 4] = value
        return array

    found = verdict(terms(f"logits:{text}"), answers(poisoned))
    assert not found.passed


def test_no_contract_lets_another_shape_or_dtype_through() -> None:
    asked = terms("cosine>=-1")
    assert not verdict(asked, answers(lambda array: array[:-1])).passed
    assert not verdict(asked, answers(lambda array: array.astype(np.float64))).passed


def test_that_something_else_decided_is_said_aloud() -> None:
    (note,) = compare(cases(), answers(noisy(0.01)), terms=terms("logits:cosine>=0.9")).notes
    assert "in place of the error budget" in note
    assert "logits:cosine>=0.9" in note
    assert "times what it allows" in note


# -- tolerances -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("atol", "rtol", "passes"), [(0.1, 0.0, True), (1e-3, 0.0, False), (0.05, 0.05, True)])
def test_a_tolerance_replaces_the_budget(atol: float, rtol: float, passes: bool) -> None:
    found = verdict(terms(atol=atol, rtol=rtol), answers(noisy(0.01)))
    assert (found.passed, found.decided) == (passes, "tolerance")
    assert found.used > 1
    exact = verdict(terms(atol=atol, rtol=rtol), answers(lambda ids: ids + 1, "ids"), "ids")
    assert (exact.passed, exact.decided) == (False, "budget")


def test_a_tolerance_is_met_exactly() -> None:
    case = Case("one", {}, {}, {"y": np.ones(4, np.float32)}, {"y": np.ones(4)})
    off = {"y": np.array([1, 1, 1, 1.5], np.float32)}
    assert compare([case], [off], terms=Terms(atol=0.5)).passed
    assert not compare([case], [off], terms=Terms(atol=0.49)).passed
    assert compare([case], [off], terms=Terms(rtol=0.5)).passed


def test_a_contract_goes_before_a_tolerance() -> None:
    asked = terms("logits:cosine>=0.9", atol=1e-9)
    assert verdict(asked, answers(noisy(0.01))).passed
    assert not verdict(asked, answers(noisy(0.01), "hidden"), "hidden").passed


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_what_is_no_tolerance_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="is no tolerance"):
        tolerance("atol", value)


# -- a function of the user's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["", ">=0.5", "<=0.5"])
@pytest.mark.parametrize("good", [True, False])
def test_a_function_decides(bound: str, good: bool) -> None:
    value = {"": good, ">=0.5": 1.0 if good else 0.0, "<=0.5": 0.0 if good else 1.0}[bound]
    found = verdict(terms(f"logits:mine.py:close{bound}", function=lambda got, want: value), answers(noisy(0.01)))
    assert (found.passed, found.decided) == (good, "contract")


def test_it_gets_what_came_out_and_what_was_wanted() -> None:
    seen: list[tuple[Array, Array]] = []

    def note(got: Array, want: Array) -> bool:
        seen.append((got.copy(), want.copy()))
        got[:] = want[:] = 0  # spoils nothing
        return True

    got = answers(noisy(0.01))
    assert verdict(terms("logits:mine.py:note", function=note), got).passed
    assert [pair[0].tolist() for pair in seen] == [one["logits"].tolist() for one in got]
    assert [pair[1].tolist() for pair in seen] == [one.oracle["logits"].tolist() for one in cases()]
    assert all(one["logits"].any() for one in got)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mine.py:f", 0.5),
        ("mine.py:f", None),
        ("mine.py:f", "yes"),
        ("mine.py:f", np.ones(3, bool)),
        ("mine.py:f>=0.5", True),
        ("mine.py:f>=0.5", np.ones(3)),
    ],
)
def test_a_function_that_says_neither_is_an_error(text: str, value: object) -> None:
    with pytest.raises(CompileError) as caught:
        verdict(terms(text, function=lambda got, want: value), answers(noisy(0)))
    assert caught.value.code == "contract-result"


def test_nan_is_no_good_number() -> None:
    found = verdict(terms("mine.py:f<=0.5", function=lambda got, want: float("nan")), answers(noisy(0)))
    assert not found.passed


# -- the words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "output", "measure", "sign", "bound"),
    [
        ("top1>=0.99", None, "top1", ">=", 0.99),
        (" kl <= 1e-2 ", None, "kl", "<=", 0.01),
        ("out.0.key:psnr>=40", "out.0.key", "psnr", ">=", 40.0),
        ("Identity:0:cosine>=0.9", "Identity:0", "cosine", ">=", 0.9),
        ("mine.py:close", None, "mine.py:close", "", 0.0),
        ("logits:dir/mine.py:close>=-3", "logits", "dir/mine.py:close", ">=", -3.0),
    ],
)
def test_how_a_clause_is_written(text: str, output: str | None, measure: str, sign: str, bound: float) -> None:
    clause = parse(text, lambda reference: lambda got, want: True)
    assert (clause.output, clause.measure, clause.sign, clause.bound) == (output, measure, sign, bound)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cosin>=0.9", "did you mean 'cosine'?"),
        ("", "write cosine>=0.999"),
        ("cosine", "write cosine>=0.999"),
        ("cosine>0.9", "write >= or <="),
        ("cosine==0.9", "write >= or <="),
        ("cosine>=", "no number"),
        ("cosine>=high", "no number"),
        ("cosine>=nan", "no number"),
        ("cosine<=0.9", "the larger it is"),
        ("kl>=0.9", "the smaller it is"),
        ("logits:>=0.9", "write cosine>=0.999"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, never)
    assert caught.value.code == "bad-contract"
    assert said in f"{caught.value.message} {caught.value.hint}"


SIGNATURE = Signature(
    (), (TensorSpec("logits", "float32", (4, 10)), TensorSpec("loss", "float32", ()), TensorSpec("ids", "int64", (4,)))
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("logit:cosine>=0.9", "did you mean 'logits'?"),
        ("loss:top1>=0.9", "a single number"),
        ("kl<=0.1", "OUTPUT:kl<=0.1"),
    ],
)
def test_what_does_not_fit_the_model_is_told_before_it_is_built(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        fits(terms(text), SIGNATURE)
    assert said in f"{caught.value.message} {caught.value.why} {caught.value.hint}"


def test_what_fits_is_let_through() -> None:
    fits(terms("logits:top1>=0.9", "cosine>=0.9", "ids:equal>=0.9"), SIGNATURE)


def test_a_model_without_floats_needs_a_name() -> None:
    with pytest.raises(UsageError, match="speaks of nothing"):
        fits(terms("cosine>=0.9"), Signature((), (TensorSpec("ids", "int64", (4,)),)))


def test_a_single_class_is_told_where_only_the_data_shows_it() -> None:
    case = Case("one", {}, {}, {"y": np.ones((4, 1), np.float32)}, {"y": np.ones((4, 1))})
    with pytest.raises(UsageError, match="cannot be told of 'y'"):
        compare([case], [case.outputs], terms=terms("top1>=0.9"))


@pytest.mark.parametrize("asked", [terms("cosine>=0.9"), Terms(atol=1e-3), Terms(rtol=0.0)])
def test_nothing_is_kept_of_what_is_not_verified(asked: Terms) -> None:
    with pytest.raises(PlumblineError, match="--no-verify"):
        refuse_unheld(asked)
    refuse_unheld(Terms())
