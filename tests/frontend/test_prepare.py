"""Which inputs a program is captured with: the user's word, then data, then what the file says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compiler.cases import Reference
from compiler.contracts import Arrays, Source, TensorSpec
from compiler.errors import CompileError, UsageError
from compiler.frontend.draws import KINDS
from compiler.frontend.prepare import trace
from compiler.frontend.reference import EFFORTS, ReferencePlan, compute
from compiler.frontend.specs import parse
from compiler.frontend.torch_program import TorchProgram


class Net(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 1.0) -> torch.Tensor:
        return x * scale if mask is None else x * mask * scale


class Nested(nn.Module):
    def forward(self, x: torch.Tensor, cache: tuple[Any, ...], state: dict[str, torch.Tensor]) -> dict[str, Any]:
        first, middle, last = cache
        assert middle is None
        return {"sum": x + first["key"] + last, "parts": (first["value"], state["hidden"] * 2, None), "number": 3}


def program(module: nn.Module, **known: Any) -> TorchProgram:
    return TorchProgram(Source("", "test", ""), module, **known)


def plan(
    module: nn.Module, *texts: str, data: Arrays | None = None, effort: str = "quick", **known: Any
) -> ReferencePlan:
    return trace(program(module, **known), texts, data, seed=0, effort=effort)


def shown(found: ReferencePlan) -> list[str]:
    return [str(spec) for spec in found.specs]


FIXED = (TensorSpec("x", "float32", (2, 3)),)
RANGED = parse(["x:float32[n=1..4,3]", "mask:float32[n,3]"]).tensors
DATA = {"x": np.ones((2, 3), np.float32)}


def test_the_user_says() -> None:
    assert shown(plan(Net(), "x:float32[n=1..4,3]")) == ["x:float32[n=1..4,3]"]


def test_the_file_says() -> None:
    assert shown(plan(Net(), specs=FIXED)) == ["x:float32[2,3]"]


def test_the_users_word_comes_before_the_files() -> None:
    assert shown(plan(Net(), "x:float32[n=1..9,4]", specs=FIXED)) == ["x:float32[n=1..9,4]"]


def test_a_range_given_for_one_input_holds_for_the_dims_of_the_others() -> None:
    assert shown(plan(Net(), "x:float32[n=1..16,3]", specs=RANGED)) == [
        "x:float32[n=1..16,3]",
        "mask:float32[n=1..16,3]",
    ]


def test_data_says_by_itself() -> None:
    found = plan(Net(), data=DATA)
    assert shown(found) == ["x:float32[2,3]"]
    assert found.given == {"given inputs": DATA}


def test_data_is_a_case_of_a_ranged_spec() -> None:
    found = plan(Net(), "x:float32[n=1..4,3]", data=DATA)
    assert shown(found) == ["x:float32[n=1..4,3]"]
    assert list(found.given) == ["given inputs"]


def test_data_that_does_not_fit_the_spec_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Net(), "x:float32[n=1..4,4]", data=DATA)
    assert (caught.value.code, caught.value.where) == ("input-mismatch", "--inputs")


def test_examples_of_the_file_are_a_case_while_they_fit() -> None:
    assert list(plan(Net(), examples=DATA).given) == ["the file's own inputs"]
    assert list(plan(Net(), "x:float32[n=1..4,3]", examples=DATA).given) == ["the file's own inputs"]
    assert list(plan(Net(), "x:float32[n=1..4,7]", examples=DATA).given) == []


def test_a_scalar_is_fixed_and_no_input() -> None:
    net = program(Net())
    found = trace(net, ["x:float32[2,3]", "scale=2.5"], None, seed=0, effort="quick")
    assert shown(found) == ["x:float32[2,3]"]
    assert net.run({"x": DATA["x"]}, precise=False)["output"].tolist() == [[2.5] * 3] * 2


def test_a_scalar_takes_the_place_of_a_tensor_that_the_file_knows() -> None:
    assert shown(plan(Net(), "mask=None", specs=RANGED)) == ["x:float32[n=1..4,3]"]


def test_no_inputs_at_all_lists_what_the_model_takes() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Net())
    error = caught.value
    assert (error.code, error.exit_code) == ("inputs-unknown", 2)
    assert "x: Tensor, mask: Tensor | None (optional), scale: float (optional)" in str(error.why)
    assert "--input 'x:DTYPE[DIMS]'" in str(error.hint)
    assert "mask" not in str(error.hint)


def test_a_mistyped_input_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Net(), "x:float32[2,3]", "maks:float32[2,3]")
    assert (caught.value.code, caught.value.hint) == ("unknown-input", "did you mean 'mask'?")
    assert "x: Tensor" in str(caught.value.why)


def test_a_required_input_that_is_missing_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Net(), "mask:float32[2,3]")
    assert (caught.value.code, caught.value.message) == ("input-mismatch", "the input 'x' is missing")
    assert "--input 'x:DTYPE[DIMS]'" in str(caught.value.hint)


def test_nested_inputs_and_outputs_have_names() -> None:
    net = program(Nested())
    texts = ["x:float32[n=1..4]", "cache.0.key:float32[n]", "cache.0.value:float32[2]", "cache.2:float32[n]"]
    found = trace(net, [*texts, "state.hidden:float32[2]"], None, seed=0, effort="quick")
    inputs = found.inputs({"n": 3}, 0)
    outputs = net.run(inputs, precise=False)
    assert list(outputs) == ["sum", "parts.0", "parts.1"]
    np.testing.assert_allclose(
        outputs["sum"], inputs["x"] + inputs["cache.0.key"] + inputs["cache.2"], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(outputs["parts.1"], 2 * inputs["state.hidden"])
    graph = net.capture(24).graph
    assert {value.name for value in graph.inputs} == set(inputs)
    assert [value.name for value in graph.outputs] == list(outputs)


def test_arguments_of_any_number() -> None:
    class Rest(nn.Module):
        def forward(self, x: torch.Tensor, scale: float = 10.0, *rest: torch.Tensor) -> torch.Tensor:
            return x * scale + rest[0] - rest[1]

    net = program(Rest())
    texts = ["x:float32[n=1..4]", "rest.0:float32[n]", "rest.1:float32[2,n]"]
    found = trace(net, texts, None, seed=0, effort="quick")
    inputs = {"x": np.full(3, 1.0), "rest.0": np.full(3, 2.0), "rest.1": np.full((2, 3), 3.0)}
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    assert net.run(inputs, precise=False)["output"].tolist() == [[9] * 3] * 2
    assert [spec.name for spec in found.specs] == [value.name for value in net.capture(24).graph.inputs]


@pytest.mark.parametrize(("dims", "shown"), [("3", "3"), ("n=1..5,3", "n,3")])
def test_arguments_of_any_name(dims: str, shown: str) -> None:
    class More(nn.Module):
        def forward(self, x: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
            return x - more["extra"] * more["other"]

    net = program(More())
    trace(net, [f"x:float32[{dims}]", f"extra:float32[{dims}]", "other:float32[3]"], None, seed=0, effort="quick")
    ones = np.ones(3, np.float32)
    assert [str(value.shape) for value in net.capture(24).graph.inputs] == [f"[{shown}]", f"[{shown}]", "[3]"]
    inputs = {"x": 9 * ones, "extra": 2 * ones, "other": 3 * ones}
    if "," in dims:
        inputs |= {name: inputs[name][None] for name in ("x", "extra")}
    assert net.run(inputs, precise=False)["output"].reshape(-1).tolist() == [3] * 3


# -- the reference ----------------------------------------------------------------------------------------------


def answered(module: nn.Module, *texts: str, effort: str = "quick") -> Reference:
    net = program(module)
    return compute(net, trace(net, texts, None, seed=0, effort=effort), "PyTorch")


def names(module: nn.Module, *texts: str, effort: str = "quick") -> list[str]:
    return [case.name for case in answered(module, *texts, effort=effort).cases]


def hurried(monkeypatch: pytest.MonkeyPatch, effort: str = "quick", **limits: float) -> None:
    monkeypatch.setitem(EFFORTS, effort, replace(EFFORTS[effort], **limits))


def test_fixed_shapes_are_checked_on_two_draws() -> None:
    assert names(Net(), "x:float32[4,3]") == ["fixed shapes", "fixed shapes (draw 2)"]


class Score(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


def test_an_output_of_a_single_number_is_drawn_more_often() -> None:
    assert len(names(Score(), "x:float32[2,3]")) == 8
    assert len(names(Score(), "x:float32[n=1..32,3]")) == 3 + 7
    assert len(names(Net(), "x:float32[0,3]")) == 2


def test_no_more_is_drawn_once_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch, luck=0)
    assert names(Score(), "x:float32[2,3]") == ["fixed shapes", "fixed shapes (draw 2)"]


def test_a_dim_is_checked_at_both_ends_and_an_odd_middle() -> None:
    assert names(Net(), "x:float32[n=1..32,3]") == ["n=11", "n=1", "n=32"]


def test_all_dims_are_at_their_ends_together() -> None:
    assert names(Net(), "x:float32[n=1..4,m=2..8]") == ["n=3 m=5", "n=1 m=2", "n=4 m=8"]


def test_normal_effort_looks_at_other_sizes_and_other_kinds_of_data() -> None:
    found = names(Net(), "x:float32[n=1..32,3]", effort="normal")
    assert found[:5] == ["n=11", "n=11 (draw 2)", "n=1", "n=1 (draw 2)", "n=32"]
    assert found[5] == "n=21"
    assert found[7:] == [f"n=11, {kind}" for kind in KINDS]
    assert len(names(Net(), "x:float32[2,3]", effort="thorough")) == 5 + 3 * len(KINDS)


def test_a_dim_that_may_be_empty_is_also_checked_at_one() -> None:
    assert "n=1" in names(Net(), "x:float32[n=0..32,3]", effort="normal")


def test_what_the_time_does_not_allow_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch, "normal", beyond=0)
    reference = answered(Net(), "x:float32[8,3]", effort="normal")
    assert [case.name for case in reference.cases] == ["fixed shapes", "fixed shapes (draw 2)"]
    assert "fixed shapes, tiny; fixed shapes, large" in reference.notes[0]


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting() and bool((x.abs() > 100).any()):
            raise ValueError("too large")
        return torch.log(x)


def test_data_that_pytorch_itself_cannot_do_with_is_an_edge() -> None:
    reference = answered(Root(), "x:float32[4,3]", effort="normal")
    kinds = {case.kind for case in reference.cases}
    edges = {edge.name: edge for edge in reference.edges}
    assert {"tiny", "constant"} <= kinds
    assert not kinds & {"zeros", "large"}
    assert np.isinf(edges["fixed shapes, zeros"].outputs["output"]).all()
    assert edges["fixed shapes, large"].raised == "ValueError: too large"
    assert edges["+Inf in x"].outputs == {}


def test_probes_wait_for_more_effort_where_they_would_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [edge.name for edge in answered(Net(), "x:float32[2,3]").edges][:3] == ["NaN in x", "+Inf in x", "-Inf in x"]
    hurried(monkeypatch, probes=0)
    reference = answered(Net(), "x:float32[2,3]")
    assert reference.edges == ()
    assert reference.notes[0].startswith("no probes: they would take about")


def test_a_corner_that_would_take_too_long_is_split_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch, corner=0)
    net = program(Net())
    found = trace(net, ["x:float32[n=1..4,m=2..8]"], None, seed=0, effort="quick")
    reference = compute(net, found, "PyTorch")
    assert [case.name for case in reference.cases][2:] == ["n=4 m=2", "n=1 m=8"]
    assert "n=4 m=8 together would take about" in reference.notes[0]


def test_a_case_carries_what_it_was_made_from() -> None:
    net = program(Net())
    found = trace(net, ["x:float32[n=1..4,3]"], None, seed=7, effort="quick")
    for case in compute(net, found, "PyTorch").cases:
        assert case.draw == 0
        again = found.inputs(dict(case.sizes), 0)
        np.testing.assert_array_equal(case.inputs["x"], again["x"])
        assert case.outputs["output"].dtype == np.float32
        assert case.oracle["output"].dtype == np.float64


class OnlyFixed(nn.Module):
    """Torch has accidents of its own with dynamic dims."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(x.shape[0], torch.SymInt):
            raise AssertionError("min=-7, max=-64")
        return x + 1


class Never(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("never")


RANGED_X = parse(["x:float32[n=1..4,3]"]).tensors


def test_suggested_dims_that_cannot_be_captured_are_fixed_and_it_is_said() -> None:
    found = plan(OnlyFixed(), suggest=lambda: RANGED_X)
    assert shown(found) == ["x:float32[2,3]"]
    assert found.notes == (
        "torch.export captures fixed sizes only; nobody asked for a dynamic one, so every size is fixed"
        f" (see {__file__}:{OnlyFixed.forward.__code__.co_firstlineno + 2}:"
        ' raise AssertionError("min=-7, max=-64"))',
    )


@pytest.mark.parametrize(
    ("module", "known"),
    [(OnlyFixed(), {"specs": RANGED_X}), (Never(), {"suggest": lambda: RANGED_X})],
    ids=["asked for", "at no size"],
)
def test_what_cannot_be_captured_is_refused(module: nn.Module, known: dict[str, Any]) -> None:
    with pytest.raises(CompileError) as caught:
        plan(module, **known)
    assert caught.value.code == "capture-failed"
