"""Who is blamed: one right graph, and a fault planted into each stage of its way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from planted import FAULTS, Plant, Spoil, SpoilingStep, Target, reference_of, spoiled

from compiler.cases import Case
from compiler.contracts import Array, Arrays, Artifact, Closing, Dim, Session, SilentProgress
from compiler.diagnose.bisect import Suspects, bisect
from compiler.diagnose.question import Question
from compiler.diagnose.search import Clock
from compiler.ir.evaluate import Evaluator
from compiler.passes import pipeline
from compiler.passes.infer_shapes import InferShapes
from compiler.validate.judge import judge
from compiler.validate.units import units
from compiler.verdicts import Terms

TEXT = """
<ir_version: 10, opset_import: ["": 24]>
g (float[n,8] x, float[8,8] a, float[8] scale, float[8] shift, float[8,4] b) => (float[n,4] y, float[n,8] s)
{
    m = MatMul(x, a)
    r = Relu(m)
    norm = LayerNormalization(r, scale, shift)
    s = Softmax(norm)
    t = Add(s, r)
    e = Exp(t)
    y = MatMul(e, b)
}
"""


def right_graph() -> ir.Model:
    """Its weights are constants, its nodes are called after their results."""
    model = ir.from_onnx_text(TEXT)
    rng = np.random.default_rng(0)
    for value in list(model.graph.inputs)[1:]:
        assert value.shape is not None
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(rng.standard_normal(value.shape.numpy(), dtype=np.float32), name=value.name)
        model.graph.register_initializer(value)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    InferShapes()(model)
    return model


@pytest.fixture
def plant() -> Plant:
    rng = np.random.default_rng(1)
    draws = [{"x": rng.standard_normal((size, 8), dtype=np.float32)} for size in (1, 3, 4)]
    return Plant(right_graph(), draws, dims={"n": Dim("n", 1, 8)})


def at(holds: Callable[[ir.Node], bool], fault: str = "scaled") -> Spoil:
    def spoil(model: ir.Model) -> bool:
        chosen = [node for node in model.graph if holds(node)]
        for node in chosen:
            spoiled(node, fault)
        return bool(chosen)

    return spoil


def test_nothing_is_said_of_a_right_graph(plant: Plant, tmp_path: Path) -> None:
    assert plant.diagnose(tmp_path) is None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operator", ["Relu", "Softmax", "Add"])
def test_a_wrong_kernel(plant: Plant, tmp_path: Path, operator: str, fault: str) -> None:
    target = Target(at(lambda node: node.op_type == operator, fault))
    found = replace(plant, target=target).diagnose(tmp_path)
    assert found is not None
    assert (found.stage, found.culprit) == ("runtime", "planted 1.0")
    assert [place.operator for place in found.nodes] == [operator]
    assert found.sentence == f"planted 1.0 computes {operator} wrongly."
    assert [(judged.stage, judged.right) for judged in found.stages] == [
        ("captured", True), ("passes", True), ("planted 1.0", False),
    ]  # fmt: skip


def test_of_a_kernel_that_is_wrong_everywhere_the_last_place_is_named(plant: Plant, tmp_path: Path) -> None:
    found = replace(plant, target=Target(at(lambda node: node.op_type == "MatMul"))).diagnose(tmp_path)
    assert found is not None
    assert [place.name for place in found.nodes] == ["node_y"]
    assert found.error_in is not None and found.error_in > 1000  # the other one is before it
    assert found.error_out is not None and found.error_out > 1000


def test_a_group_that_is_wrong_only_when_it_is_fused(plant: Plant, tmp_path: Path) -> None:
    def together(node: ir.Node) -> bool:
        return node.op_type == "Softmax" and any(use.node.op_type == "Add" for use in node.outputs[0].uses())

    def both(model: ir.Model) -> bool:
        return at(lambda node: node.op_type == "Exp" and _fused(node))(model)

    def _fused(node: ir.Node) -> bool:
        add = node.inputs[0].producer() if node.inputs[0] is not None else None
        softmax = add.inputs[0].producer() if add is not None and add.inputs[0] is not None else None
        return softmax is not None and together(softmax)

    found = replace(plant, target=Target(both)).diagnose(tmp_path)
    assert found is not None
    assert [place.operator for place in found.nodes] == ["Softmax", "Add", "Exp"]
    assert found.sentence == "planted 1.0 computes a group of 3 nodes (Softmax, Add, Exp) wrongly."
    assert found.error_in is not None and found.error_in < 10


@pytest.mark.parametrize("place", [0, 5, 20, -1])
def test_a_wrong_pass(plant: Plant, tmp_path: Path, place: int) -> None:
    step = SpoilingStep("hasty", "", "", spoil=at(lambda node: node.op_type == "Softmax"))
    steps = list(pipeline.default())
    steps.insert(place, step)
    found = replace(plant, steps=steps).diagnose(tmp_path)
    assert found is not None
    assert (found.stage, found.culprit) == ("pass", "the pass hasty")
    assert "node_s_spoiled" in [node.name for node in found.nodes]
    assert "--passes default,-hasty" in found.notes[0]
    assert {path.name for path in (tmp_path / "found").glob("*.onnx")} == {"before.onnx", "after.onnx"}


def test_a_pass_that_takes_a_node_away(plant: Plant, tmp_path: Path) -> None:
    def without_relu(model: ir.Model) -> bool:
        relus = [node for node in model.graph if node.op_type == "Relu"]
        for node in relus:
            assert node.inputs[0] is not None
            node.outputs[0].replace_all_uses_with(node.inputs[0])
            model.graph.remove(node, safe=True)
        return bool(relus)

    steps = [*pipeline.default(), SpoilingStep("hasty", "", "", spoil=without_relu)]
    found = replace(plant, steps=steps).diagnose(tmp_path)
    assert found is not None
    assert found.culprit == "the pass hasty"
    assert found.nodes[0].operator in ("LayerNormalization", "Add")
    before = ir.load(tmp_path / "found" / "before.onnx")
    assert "Relu" in [node.op_type for node in before.graph]


def test_a_pass_that_changes_a_weight(plant: Plant, tmp_path: Path) -> None:
    def bent(model: ir.Model) -> bool:
        value = model.graph.initializers["a"]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        if array[0, 0] == 7:
            return False
        array[0, 0] = 7
        value.const_value = ir.tensor(array, name="a")
        return True

    found = replace(plant, steps=[*pipeline.default(), SpoilingStep("bends", "", "", spoil=bent)]).diagnose(tmp_path)
    assert found is not None
    assert found.culprit == "the pass bends"
    assert [place.name for place in found.nodes] == ["node_m"]


@pytest.mark.parametrize("result", ["m", "s", "y"])
def test_a_wrong_exporter(plant: Plant, tmp_path: Path, result: str) -> None:
    captured = right_graph()
    spoiled(next(node for node in captured.graph if node.outputs[0].name == result), "scaled")
    found = replace(plant, captured=captured).diagnose(tmp_path)
    assert found is not None
    assert (found.stage, found.culprit) == ("exporter", "torch.onnx")
    assert found.sentence.startswith("torch's exporter writes a group of 2 nodes")
    assert f"node_{result}_spoiled" in [place.name for place in found.nodes]
    assert [(judged.stage, judged.right) for judged in found.stages] == [("traced", True), ("captured", False)]


def test_a_place_that_differs_and_does_no_harm_is_not_blamed(plant: Plant, tmp_path: Path) -> None:
    """The masked rows of an attention, say: other numbers, which nobody looks at."""

    class Elsewhere:
        """PyTorch, which has something else where nobody looks."""

        def values(self, inputs: Arrays, *, precise: bool) -> Arrays:
            from planted import InsideGraph

            found: dict[str, Array] = dict(InsideGraph(plant.model).values(inputs, precise=precise))
            return found | {"m": np.where(found["m"] < 0, found["m"] - 1, found["m"])}

        modules = exported_modules = line = None

    captured = right_graph()
    spoiled(next(node for node in captured.graph if node.op_type == "Softmax"), "scaled")
    found = replace(plant, captured=captured, inside=Elsewhere()).diagnose(tmp_path)
    assert found is not None
    assert "node_s_spoiled" in [place.name for place in found.nodes]


def test_the_folder_shows_it_without_plumbline(plant: Plant, tmp_path: Path) -> None:
    captured = right_graph()
    spoiled(next(node for node in captured.graph if node.op_type == "Softmax"), "shifted")
    found = replace(plant, captured=captured).diagnose(tmp_path)
    assert found is not None
    folder = tmp_path / "found"
    assert found.folder == str(folder)
    names = {"reduced.onnx", "inputs.npz", "expected.npz", "got.npz", "show.py", "versions.txt", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert len((folder / "show.py").read_text().splitlines()) <= 15
    said = subprocess.run([sys.executable, "show.py"], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "s: off by 0.01" in said
    readme = (folder / "README.md").read_text()
    assert readme.startswith(f"# {found.sentence}")
    assert "onnxruntime" in (folder / "versions.txt").read_text()


def test_both_versions_of_a_piece_are_shown(plant: Plant, tmp_path: Path) -> None:
    step = SpoilingStep("hasty", "", "", spoil=at(lambda node: node.op_type == "Softmax", "shifted"))
    assert replace(plant, steps=[*pipeline.default(), step]).diagnose(tmp_path) is not None
    done = subprocess.run([sys.executable, "show.py"], cwd=tmp_path / "found", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("after.onnx")
    assert "off by 0.0" not in before.replace("off by 0,", "")
    assert "off by 0.0" in after


def test_a_group_that_nothing_smaller_shows(plant: Plant, tmp_path: Path) -> None:
    """Wrong only while the model's own output comes of it."""

    def up_to_the_output(model: ir.Model) -> bool:
        whole = any(value.name == "y" for value in model.graph.outputs)
        return whole and at(lambda node: node.op_type == "Relu")(model)

    found = replace(plant, target=Target(up_to_the_output)).diagnose(tmp_path)
    assert found is not None
    assert (found.nodes[0].operator, found.nodes[-1].operator) == ("Relu", "MatMul")


def test_what_only_an_older_session_shows(plant: Plant, tmp_path: Path) -> None:
    class Ageing(Target):
        """Right on its first run, wrong on those that follow."""

        def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
            session = super().open(artifact, folder, options)
            runs = []

            class Aged(Closing):
                effective: ClassVar[Mapping[str, Any]] = {}

                def __call__(self, inputs: Arrays) -> dict[str, Array]:
                    runs.append(inputs)
                    return {name: array * np.float32(len(runs)) for name, array in session(inputs).items()}

                def close(self) -> None:
                    pass

            return Aged()

    found = replace(plant, target=Ageing()).diagnose(tmp_path)
    assert found is not None
    assert found.sentence == "planted 1.0 is given the right graph, and what it does wrong does not show again."
    assert not found.nodes
    assert not found.folder


@pytest.mark.parametrize("operator", ["Softmax", "Exp"])
def test_a_graph_that_the_evaluator_does_not_know_throughout(plant: Plant, tmp_path: Path, operator: str) -> None:
    """A target's own operator is taken as it was before the pass that brought it."""

    def vendor(model: ir.Model) -> bool:
        found = [node for node in model.graph if node.op_type == "Exp" and not node.domain]
        for node in found:
            node.domain = "vendor"
        model.opset_imports["vendor"] = 1
        return bool(found)

    def known_again(model: ir.Model) -> bool:
        for node in model.graph:
            node.domain = ""
        return at(lambda node: node.op_type == operator)(model)

    steps = [*pipeline.default(), SpoilingStep("own-operators", "", "", spoil=vendor)]
    found = replace(plant, steps=steps, target=Target(known_again)).diagnose(tmp_path)
    assert found is not None
    assert [place.operator.removeprefix("vendor::") for place in found.nodes] == [operator]
    doubt = "the pass own-operators could not be judged and may be at fault itself"
    assert found.notes == ((doubt,) if operator == "Exp" else ())


def test_a_graph_that_cannot_be_evaluated_at_all(plant: Plant, tmp_path: Path) -> None:
    captured = right_graph()
    next(node for node in captured.graph if node.op_type == "Exp").domain = "vendor"
    captured.opset_imports["vendor"] = 1

    def known_again(model: ir.Model) -> bool:
        for node in model.graph:
            node.domain = ""
        return at(lambda node: node.op_type == "Softmax")(model)

    found = replace(plant, captured=captured, target=Target(known_again)).diagnose(tmp_path)
    assert found is not None
    assert found.stage == "unknown"
    assert "vendor::Exp" in found.stages[0].why


def test_a_pass_that_leaves_what_cannot_be_computed(plant: Plant, tmp_path: Path) -> None:
    def crooked(model: ir.Model) -> bool:
        model.graph.initializers["b"].const_value = ir.tensor(np.ones((7, 4), np.float32), name="b")
        return True

    target = Target(crooked)  # so that there is an answer to judge
    steps = [*pipeline.default(), SpoilingStep("crooked", "", "", spoil=crooked)]
    reference_only = replace(plant, steps=steps, target=target, answers=lambda inputs: {
        "y": np.zeros((len(inputs["x"]), 4), np.float32), "s": np.zeros((len(inputs["x"]), 8), np.float32),
    })  # fmt: skip
    found = reference_only.diagnose(tmp_path)
    assert found is not None
    assert found.culprit == "the pass crooked"
    assert not found.nodes
    assert "cannot be evaluated" in found.stages[-1].why


def test_only_special_values_differ(plant: Plant, tmp_path: Path) -> None:
    """A verdict may fail by its edges alone; ordinary numbers are then not searched."""
    reference = reference_of(plant.model, plant.draws)
    verdict = replace(judge(reference, Evaluator(plant.model, precise=False), Terms()), status="failed")
    suspects = Suspects(
        "planted", "planted 1.0", reference, verdict, Terms(strict_edges=True), plant.route(), None, None
    )
    found = bisect(suspects, tmp_path, Clock(60), SilentProgress())
    assert found.differs
    assert found.sentence.startswith("Every ordinary number is right")


def test_a_case_alone_that_proves_nothing_is_not_wrong() -> None:
    plain = {"y": np.ones(8, np.float32)}
    exact = {"y": np.ones(8)}
    ordinary = Case("ordinary", {}, {}, plain, exact)
    lost = Case("tiny", {}, {}, plain, {"y": np.full(8, 2.0)}, kind="tiny")
    asked = Question(lost, units([ordinary, lost]), Terms())
    assert asked.wrong({"y": np.full(8, 1.5, np.float32)}) is None


def test_time_that_is_up_is_told(plant: Plant, tmp_path: Path) -> None:
    found = replace(plant, target=Target(at(lambda node: node.op_type == "Exp"))).diagnose(tmp_path, seconds=0)
    assert found is not None
    assert found.stage == "runtime"
    assert "the time was up before the search had ended" in found.notes
    assert Clock(0).over()
