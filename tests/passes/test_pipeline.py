"""The pipeline holds its passes to their promises."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from check import HEADER, parse, same_numbers

from compiler.errors import CompileError, InternalError
from compiler.ir.store import weight_bytes
from compiler.ir.text import to_text
from compiler.passes import pipeline
from compiler.passes.declined import Declining

GRAPH = "(float[n,3] x) => (float[n,2] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}, float[2] b = {1, 2}> { "
GRAPH += "i = Identity(x)  dead = Relu(i)  t = Transpose(w)  p = MatMul(i, t)  "
GRAPH += "c = Constant<value = float[2] {1, 2}>()  s = Add(b, c)  y = Add(p, s) }"


class Fake(Declining, ir.passes.InPlacePass):
    """Does to the model what the test says."""

    def __init__(self, change: object) -> None:
        super().__init__()
        self._change = change

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._change(model)  # type: ignore[operator]
        return ir.passes.PassResult(model, modified=True)


def run(change: object) -> None:
    pipeline.run_passes(parse(GRAPH), [("fake", Fake(change))])


def test_the_default_pipeline_cleans_up_and_keeps_the_numbers() -> None:
    model, before = parse(GRAPH), parse(GRAPH)
    records = pipeline.run(model)
    assert [node.op_type for node in model.graph] == ["Gemm"]
    same_numbers(before, model)
    assert list(dict.fromkeys(record.name for record in records)) == list(
        dict.fromkeys(step.name for step in pipeline.default())
    )
    assert {record.name for record in records if record.modified} >= {"remove-dead-code", "fold-transposed-weights"}
    assert records[0].nodes_before == 7
    assert records[-1].nodes_after == 1
    assert records[-1].bytes_after == weight_bytes(model)


def test_the_default_pipeline_settles() -> None:
    model = parse(GRAPH)
    pipeline.run(model)
    text = to_text(model)
    assert [record.name for record in pipeline.run(model) if record.modified] == []
    assert to_text(model) == text


def test_tied_weights_are_stored_once_after_all_passes() -> None:
    model = parse(
        "(int64[n] ids, float[500,80] w, float[500,80] tied) => (float[n,500] y) <float[80,500] t> "
        "{ e = Gather(w, ids)  t = Transpose(tied)  y = MatMul(e, t) }"
    )
    before = model.clone()
    weights = np.random.default_rng(0).standard_normal((500, 80), np.float32)
    for graph in (model.graph, before.graph):
        for value in list(graph.inputs)[1:]:
            graph.inputs.remove(value)
            value.const_value = ir.tensor(weights.copy(), name=str(value.name))
            graph.register_initializer(value)
    assert weight_bytes(model) == 2 * weights.nbytes
    pipeline.run(model)
    assert weight_bytes(model) == weights.nbytes
    same_numbers(before, model)


@pytest.mark.parametrize("step", pipeline.DEFAULT, ids=lambda step: step.name)
def test_names_of_passes_files_and_classes_agree(step: pipeline.Step) -> None:
    module, _, name = step.where.partition(":")
    file = module.rpartition(".")[2]
    assert name == "".join(word.capitalize() for word in file.split("_"))
    assert step.name in (file.replace("_", "-"), "sweep")
    assert importlib.import_module(module).__doc__
    assert step.reason


# -- passes that break their promises ---------------------------------------------------------------------------


def rename_input(model: ir.Model) -> None:
    model.graph.inputs[0].name = "renamed"


def drop_output(model: ir.Model) -> None:
    extra = ir.node("Relu", [model.graph.outputs[0]])
    extra.outputs[0].name, extra.outputs[0].type = "z", model.graph.outputs[0].type
    extra.outputs[0].shape = model.graph.outputs[0].shape
    model.graph.append(extra)
    model.graph.outputs.append(extra.outputs[0])


def change_type(model: ir.Model) -> None:
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)


def fix_dim(model: ir.Model) -> None:
    model.graph.inputs[0].shape = ir.Shape([7, 3])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (rename_input, "x:float32[n,3] became renamed:float32[n,3]"),
        (drop_output, "2 inputs and outputs became 3"),
        (change_type, "y:float32[n,2] became y:float16[n,2]"),
        (fix_dim, "x:float32[n,3] became x:float32[7,3]"),
    ],
)
def test_a_pass_that_changes_the_signature_is_caught(change: object, why: str) -> None:
    with pytest.raises(InternalError) as caught:
        run(change)
    assert (caught.value.code, caught.value.exit_code) == ("pass-broke-promise", 70)
    assert "fake" in caught.value.message
    assert caught.value.why == why


def forget_a_node(model: ir.Model) -> None:
    node = next(node for node in model.graph if node.op_type == "Transpose")
    model.graph.remove(node)


def put_in_the_wrong_order(model: ir.Model) -> None:
    first = model.graph[0]
    model.graph.remove(first)
    model.graph.append(first)


def use_an_unknown_operator(model: ir.Model) -> None:
    next(node for node in model.graph if node.op_type == "Relu").op_type = "Relux"


def define_twice(model: ir.Model) -> None:
    model.graph[0].outputs[0].name = "p"


@pytest.mark.parametrize("change", [forget_a_node, put_in_the_wrong_order, use_an_unknown_operator, define_twice])
def test_a_pass_that_breaks_the_graph_is_caught(change: object) -> None:
    with pytest.raises(InternalError) as caught:
        run(change)
    assert (caught.value.code, caught.value.exit_code) == ("pass-broke-promise", 70)
    assert caught.value.message == "the pass fake broke the graph"
    assert caught.value.why


def test_a_pass_that_hands_back_another_model_is_caught() -> None:
    class Replacing(ir.passes.FunctionalPass):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            return ir.passes.PassResult(model.clone(), modified=True)

    with pytest.raises(InternalError, match="another model"):
        pipeline.run_passes(parse(GRAPH), [("replacing", Replacing())])


def test_a_pass_that_finds_no_way_names_itself() -> None:
    def fail(model: ir.Model) -> None:
        raise ir.passes.PassError("two and two make five")

    with pytest.raises(CompileError) as caught:
        run(fail)
    assert (caught.value.code, caught.value.message) == ("pass-failed", "the pass fake failed")
    assert caught.value.why == "two and two make five"


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_in_the_projects_own_voice_comes_through_as_it_is(wrapped: bool) -> None:
    told = CompileError("unsupported-op", "not today")

    def fail(model: ir.Model) -> None:
        if wrapped:
            raise ir.passes.PassError from told
        raise told

    with pytest.raises(CompileError) as caught:
        run(fail)
    assert caught.value is told


def test_what_was_declined_is_recorded_once() -> None:
    shy = Fake(lambda model: shy.decline(model.graph[0], "too shy"))
    model = parse(GRAPH)
    for _ in range(2):
        (record,) = pipeline.run_passes(model, [("shy", shy)])
        assert len(record.declined) == 1
        assert "layers.0" in record.declined[0]
        assert record.declined[0].endswith(": too shy")


def test_a_header_of_its_own_is_what_the_text_says() -> None:
    assert parse(GRAPH).opset_imports == parse(HEADER + GRAPH).opset_imports


def test_the_page_lists_every_pass_in_order() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "passes.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    told = [(cells[0].split("`")[1], cells[-1].removesuffix(" |")) for cells in rows]
    tidy = {(step.name, step.reason) for step in pipeline.DEFAULT if step.group == "tidy"}
    for step in pipeline.DEFAULT:
        if step.group == "algebra" and (step.name, step.reason) in tidy:
            continue  # the algebra tidies as well, which is listed once
        assert told.pop(0) == (step.name, step.reason)
    assert told == []
