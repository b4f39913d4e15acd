"""A target that decides otherwise within rounding is not blamed for it; a fault beside it is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from planted import Plant, Target, reference_of, spoiled

from compiler.cases import Branch, Case, Decision, Reference

TEXT = """
<ir_version: 10, opset_import: ["": 24]>
g (float[n,8] x) => (float[n,8] e, float[n,8] y)
{
    e = Exp(x)
    r = Round(x)
    y = Sin(r)
}
"""
HALF = Decision("round", 0, (0.0,), (1.0,), share=0.1)


def decides_otherwise(model: ir.Model) -> bool:
    """As a target does that gets a little more than a half to round."""
    for node in [node for node in model.graph if node.op_type == "Round"]:
        more = ir.Value(name="more", const_value=ir.tensor(np.float32(1 + 1e-6), name="more"))
        model.graph.register_initializer(more)
        product = ir.node("Mul", [node.inputs[0], more], name="node_more")
        product.outputs[0].name = "a little more"
        node.replace_input_with(0, product.outputs[0])
        model.graph.insert_before(node, [product])
    return True


def wrong_too(model: ir.Model) -> bool:
    for node in [node for node in model.graph if node.op_type == "Exp"]:
        spoiled(node, "scaled")
    return decides_otherwise(model)


def one_more(case: Case, taken: tuple[Decision, ...]) -> Branch:
    """The first element rounded to one."""
    wide = case.oracle["y"].copy()
    wide[0, 0] = np.sin(1.0)
    return Branch(taken, {**case.outputs, "y": wide.astype(np.float32)}, {**case.oracle, "y": wide})


@pytest.fixture
def plant() -> Plant:
    model = ir.from_onnx_text(TEXT)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    rng = np.random.default_rng(1)
    near, far = (rng.integers(-3, 4, (2, 3, 8)) + rng.uniform(-0.4, 0.4, (2, 3, 8))).astype(np.float32)
    near[0, 0] = 0.5
    known = reference_of(model, [{"x": near}, {"x": far}])
    cases = (replace(known.cases[0], close=(HALF,)), known.cases[1])
    return Plant(model, (), reference=Reference(cases, "", 0), otherwise=one_more)


def test_a_near_decision_is_no_fault(plant: Plant, tmp_path: Path) -> None:
    assert replace(plant, target=Target(decides_otherwise)).diagnose(tmp_path) is None


def test_a_fault_beside_it_is_found(plant: Plant, tmp_path: Path) -> None:
    found = replace(plant, target=Target(wrong_too)).diagnose(tmp_path)
    assert found is not None
    assert found.stage == "runtime"
    assert [place.operator for place in found.nodes] == ["Exp"]


def test_without_the_model_the_decision_is_named(plant: Plant, tmp_path: Path) -> None:
    found = replace(plant, target=Target(wrong_too), otherwise=None).diagnose(tmp_path)
    assert found is not None
    assert [place.operator for place in found.nodes] == ["Round"]
