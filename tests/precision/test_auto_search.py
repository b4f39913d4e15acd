"""Which layers lose most, and the lowest mix that keeps a contract: on a small graph with a layer that int8 spoils."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from weight_graphs import build, normal

from compiler.cases import Case, Reference
from compiler.contracts import Ready, Route, SilentProgress, Unavailable
from compiler.errors import UnavailableError, UsageError
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import signature_of
from compiler.precision import sensitivity
from compiler.precision.apply import lower_precision
from compiler.precision.mixes import Base, bases
from compiler.precision.recipe import Recipe
from compiler.precision.search import Clock, Search, excess
from compiler.precision.sensitivity import relative_error, sensitivities
from compiler.validate.contract import parse
from compiler.verdicts import Clause, OutputVerdict, Promise, Terms, Verdict

NAMES = ("first", "second", "third", "fourth")
BODY = (
    "a = MatMul(x, w)  r = Relu(a)  s = Add(r, far)  b = MatMul(s, v)  t = Relu(b)  c = MatMul(t, u)  k = Relu(c)"
    "  y = MatMul(k, q)"
)
DATA = [{"x": normal(8, 64, seed=seed)} for seed in range(8)]
STATIC = Base("int8 static", Recipe("int8", "static"))


def model() -> ir.Model:
    """What goes into the second layer has one channel far out, which its weights hardly count."""
    far, second = np.zeros(64), normal(64, 64, seed=1) / 8
    far[5], second[5] = 60.0, second[5] / 1000
    weights = {"w": normal(64, 64) / 8, "v": second, "u": normal(64, 64, seed=2) / 8, "q": normal(64, 64, seed=3) / 8}
    made = build(BODY, far=far, **weights)
    for name, node in zip(NAMES, (node for node in made.graph if node.op_type == "MatMul"), strict=True):
        node.name = name
    return made


def reference(made: ir.Model) -> Reference:
    plain, precise = (Evaluator(made, precise=which) for which in (False, True))
    data = DATA[::4]
    cases = [Case(f"{at}", {}, one, plain(one), precise(one)) for at, one in enumerate(data)]
    return Reference(tuple(cases), "the evaluator", 0)


def search(contract: str) -> Search:
    made = model()
    terms = Terms((parse(contract, lambda _: abs),))
    return Search(made, signature_of(made, {}), reference(made), terms, None, SilentProgress())


DYNAMIC = Base("int8 dynamic", Recipe("int8", "dynamic"))


# -- sensitivity ------------------------------------------------------------------------------------------------


def test_errors_of_single_layers_add_up() -> None:
    made = model()
    for recipe, samples in ((Recipe("int8", "static"), DATA[:4]), (Recipe("bfloat16"), DATA[:4])):
        lowered = lower_precision(made.clone(), recipe, samples)
        units = sensitivities(made, lowered, DATA)
        assert [unit.layers for unit in units] == [(name,) for name in NAMES]
        assert all(unit.measured and unit.work == 8 * 64 * 64 and unit.weights == 64 * 64 for unit in units)
        plain, low = Evaluator(made, precise=False), Evaluator(lowered.graph, precise=False)
        whole = relative_error(low(DATA[0]), plain(DATA[0]))
        assert whole / 2 < sum(unit.error for unit in units) < 2 * whole


def test_the_layer_with_the_outlier_loses_most() -> None:
    made = model()
    units = sensitivities(made, lower_precision(made.clone(), Recipe("int8", "dynamic"), None), DATA)
    second = next(unit for unit in units if unit.layers == ("second",))
    assert all(second.error > 5 * unit.error for unit in units if unit is not second)


def test_what_there_was_no_time_for_is_told_from_the_layer_itself() -> None:
    made = model()
    lowered = lower_precision(made.clone(), Recipe("int8", "dynamic"), None)
    units = sensitivities(made, lowered, DATA, enough=lambda: True)
    assert not any(unit.measured for unit in units)
    assert max(units, key=lambda unit: unit.error).layers == ("second",)


def test_many_layers_are_measured_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "MOST", 2)
    made = model()
    units = sensitivities(made, lower_precision(made.clone(), Recipe("int8", "dynamic"), None), DATA)
    assert [unit.layers for unit in units] == [NAMES[:2], NAMES[2:]]
    assert units[0].weights == 2 * 64 * 64


# -- the search -------------------------------------------------------------------------------------------------


def test_what_keeps_the_contract_as_a_whole_needs_no_mix() -> None:
    tried = search("cosine>=0.9").whole(DYNAMIC)
    assert tried.holds and tried.name == "int8 dynamic" and 0 < tried.error < 0.3


def test_the_fewest_layers_are_put_back() -> None:
    looking = search("cosine>=0.9995")
    whole = looking.whole(DYNAMIC)
    assert not whole.holds
    mixes = looking.mixes(DYNAMIC, Clock(60))
    best = min((one for one in mixes if one.holds), key=lambda one: one.count)
    assert best.back[0].layers == ("second",) and best.count < len(NAMES)
    assert best.error < whole.error / 3
    assert best.name == f"int8 dynamic, {best.count} of 4 in float32"
    assert all(not one.holds for one in mixes if one.count < best.count)
    again = search("cosine>=0.9995")
    again.whole(DYNAMIC)
    assert [one.recipe for one in again.mixes(DYNAMIC, Clock(60))] == [one.recipe for one in mixes]


def test_without_time_one_mix_is_tried_all_the_same() -> None:
    looking = search("cosine>=0.9999999")
    looking.whole(DYNAMIC)
    (tried,) = looking.mixes(DYNAMIC, Clock(0))
    assert 0 < tried.count < len(NAMES) and tried.excess > 1


def test_layers_go_back_to_16_bits_where_those_are_the_rest() -> None:
    base = Base("mixed", Recipe("int8", rest="bfloat16", keep=("mine",)), "bfloat16")
    mixed = base.mixed(["layers.1[a]"])
    assert mixed.own == (("layers.1[[]a]", "bfloat16"),) and mixed.keep == ("mine",)
    assert STATIC.mixed(["b"]).own == (("b", "float32"),)
    assert Base("int8 weights", Recipe("int8", "rtn")).mixed(["b"]).keep == ("b",)


def test_weights_in_four_bits_go_back_to_eight() -> None:
    looking = search("cosine>=0.9995")
    base = Base("int4 weights", Recipe("int4", "rtn", group_size=32), "int8")
    assert not looking.whole(base).holds
    tried = looking.mixes(base, Clock(60), by_weights=True)
    assert all(unit.layers != ("fourth",) for unit in tried[0].back), "the head has eight bits in any case"
    lowered = lower_precision(model(), tried[0].recipe, None)
    fine = {layer.name for layer in lowered.layers if layer.precision.startswith("int8")}
    assert fine == {"fourth", *(name for unit in tried[0].back for name in unit.layers)}


# -- how far off ------------------------------------------------------------------------------------------------


def verdict(worst: float, passed: bool, text: str) -> Verdict:
    output = OutputVerdict("y", passed, 1, 1, 1, "", promises=(Promise(text, passed, worst, worst, "case"),))
    return Verdict("passed" if passed else "failed", (output,), 1)


@pytest.mark.parametrize(
    ("text", "worst", "times"),
    [
        ("cosine>=0.999", 0.997, 3.0),
        ("kl<=0.01", 0.02, 2.0),
        ("psnr>=40", 20.0, 2.0),
        ("cosine>=0.999", math.nan, math.inf),
        ("cosine>=0.999", 0.9995, 0.5),
    ],
)
def test_how_many_times_as_far_off_as_it_may_be(text: str, worst: float, times: float) -> None:
    clause = parse(text, lambda _: abs)
    assert excess(verdict(worst, times <= 1, text), [clause]) == pytest.approx(times)


def test_a_function_says_yes_or_no() -> None:
    clause = Clause("own.py:same", "own.py:same", function=lambda got, want: True)
    assert excess(verdict(0.0, False, clause.text), [clause]) == math.inf
    assert excess(verdict(1.0, True, clause.text), [clause]) == 0


# -- where to begin ---------------------------------------------------------------------------------------------

ABLE = Ready("1", ("cpu",), routes={"int8": Route(), "int4": Route(), "bfloat16": Route(options={"HINT": "bf16"})})
NO_HALF = Unavailable("it has no kernels", "int8")


def names(target: str, state: Ready, goal: str = "latency", *, data: bool = True, method: str = "auto") -> list[str]:
    return [base.name for base in bases(Recipe("int8", method), target, state, goal, data=data)]


def test_what_is_fast_on_a_target_and_what_is_small() -> None:
    all_of_it = ["int8 static", "int8 rows", "int8 static + bfloat16", "int8 rows + bfloat16", "bfloat16"]
    assert names("openvino", ABLE) == all_of_it
    cannot = replace(ABLE, routes={**ABLE.routes, "bfloat16": NO_HALF})
    assert names("onnxruntime", cannot) == ["int8 static", "int8 rows"]
    assert names("onnxruntime", cannot, data=False) == ["int8 rows"]
    assert names("onnxruntime", cannot, "size")[:2] == ["int4 weights", "int8 weights"]
    assert names("onnxruntime", cannot, method="dynamic") == ["int8 dynamic"]


def test_a_target_that_knows_nothing_lower_says_why() -> None:
    with pytest.raises(UnavailableError) as caught:
        names("theirs", Ready("1", ("cpu",), routes={"int8": NO_HALF}))
    assert "it has no kernels" in str(caught.value.why)


def test_a_method_that_is_mistyped() -> None:
    with pytest.raises(UsageError) as caught:
        names("openvino", ABLE, method="statik")
    assert caught.value.hint == "did you mean 'static'?"
