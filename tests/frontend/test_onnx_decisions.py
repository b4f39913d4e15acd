"""What an .onnx model decides within rounding of another choice is found, and can be had the other way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.cases import Case
from compiler.contracts import Arrays
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Program, Request
from compiler.frontend.reference import branch

THIRD = "s = Constant <value_float = 0.3333333333> ()  t = Mul(x, s)"
NEAR = [0.5, 3.0000002, 3.0, -1.0]


def program_of(folder: Path, nodes: str, output: str) -> Program:
    text = f'<ir_version: 10, opset_import: ["" : 21]> g (float[1, 4] x) => ({output}) {{ {THIRD}  {nodes} }}'
    file = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), file)
    program = open_program(Request(str(file)))
    trace(program, (), None, seed=0, effort="quick")
    return program


def case_of(program: Program, x: list[float]) -> Case:
    inputs: Arrays = {"x": np.array([x], np.float32)}
    found = program.answers(inputs)
    return Case("", {}, inputs, found.outputs, found.oracle, close=found.close)


def output(arrays: Arrays) -> list[float]:
    result: list[float] = arrays["y"].astype(np.float64).reshape(-1).tolist()
    return result


# The nodes, the output, what x is given, and the two answers.
DECIDING: dict[str, tuple[str, str, list[float], list[float], list[float]]] = {
    "TopK": (
        "k = Constant <value_ints = [2]> ()  v, y = TopK(t, k)",
        "int64[1, 2] y",
        NEAR,
        [1, 2],
        [2, 1],
    ),
    "TopK, the values": (
        "k = Constant <value_ints = [1]> ()  y, i = TopK <axis = 1> (t, k)",
        "float[1, 1] y",
        NEAR,
        [float(np.float32(3.0000002) * np.float32(1 / 3))],
        [1.0],
    ),
    "ArgMax": ("y = ArgMax <axis = 1> (t)", "int64[1, 1] y", NEAR, [1], [2]),
    "ArgMin": ("n = Neg(t)  y = ArgMin <axis = -1, keepdims = 0> (n)", "int64[1] y", NEAR, [1], [2]),
    "Round": ("y = Round(t)", "float[1, 4] y", [7.5000005, 3, 6, 9.9], [3, 1, 2, 3], [2, 1, 2, 3]),
    "Floor": ("y = Floor(t)", "float[1, 4] y", [6.0000005, 1, 2, 4], [2, 0, 0, 1], [1, 0, 0, 1]),
    "Cast": ("y = Cast <to = 7> (t)", "int64[1, 4] y", [6.0000005, 1, 2, 4], [2, 0, 0, 1], [1, 0, 0, 1]),
    "Less": (
        "h = Constant <value_float = 2.0> ()  b = Less(t, h)  y = Cast <to = 1> (b)",
        "float[1, 4] y",
        [6.0000005, 1, 2, 4],
        [0, 1, 1, 1],
        [1, 1, 1, 1],
    ),
}


@pytest.mark.parametrize("name", DECIDING)
def test_the_other_choice_can_be_had(tmp_path: Path, name: str) -> None:
    nodes, of, x, have, other = DECIDING[name]
    program = program_of(tmp_path, nodes, of)
    assert program.decides()
    case = case_of(program, x)
    (decision,) = case.close
    found = branch(program, case, (decision,))
    np.testing.assert_allclose(output(case.outputs), have, rtol=1e-7)
    np.testing.assert_allclose(output(found.outputs), other, rtol=1e-7)
    np.testing.assert_allclose(output(found.oracle), output(found.outputs), rtol=3e-7)
    assert {name: array.dtype for name, array in found.outputs.items()} == {"y": case.outputs["y"].dtype}


def test_a_decision_names_its_node(tmp_path: Path) -> None:
    program = program_of(tmp_path, "[pick] y = ArgMax <axis = 1> (t)", "int64[1, 1] y")
    (decision,) = case_of(program, NEAR).close
    assert str(decision) == "argmax at pick"


def test_inside_a_branch_of_the_graph(tmp_path: Path) -> None:
    nodes = """
        c = Constant <value_int = 1> ()  b = Cast <to = 9> (c)
        y = If (b) <then_branch = then () => (float[1, 4] u) { u = Floor(t) },
                    else_branch = other () => (float[1, 4] w) { w = Identity(t) }>
    """
    program = program_of(tmp_path, nodes, "float[1, 4] y")
    assert program.decides()
    (decision,) = case_of(program, [6.0000005, 1, 2, 4]).close
    assert decision.site.startswith("floor")


NOTHING = {
    "a cast of floats": ("d = Cast <to = 11> (t)  y = Cast <to = 1> (d)", "float[1, 4] y"),
    "relu": ("y = Relu(t)", "float[1, 4] y"),
    "whole numbers": ("n = Shape(t)  m = Equal(n, n)  f = Cast <to = 1> (m)  y = ReduceSum(f)", "float[1] y"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_graph_that_decides_nothing_is_not_looked_at(tmp_path: Path, name: str) -> None:
    program = program_of(tmp_path, *NOTHING[name])
    if name != "whole numbers":  # untyped in between: that is told when it is computed
        assert not program.decides()
    assert not case_of(program, NEAR).close
