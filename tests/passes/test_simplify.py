from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from check import apply, draw, parse, same_numbers

from compiler.passes import simplify
from compiler.passes.simplify import DRAWS, Simplify

# Something that only onnxsim folds here: two Reshapes in a row, beside what must stay.
GRAPH = "(float[2,6] x) => (float[3,4] y) <int64[2] s = {6, 2}, int64[2] t = {3, 4}> "
GRAPH += "{ r = Relu(x)  a = Reshape(r, s)  b = Reshape(a, t)  y = Neg(b) }"


def model() -> ir.Model:
    made = parse(GRAPH)
    made.meta[DRAWS] = lambda: [draw(made)]
    return made


def with_child(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Another program in the place of onnxsim."""
    script = folder / "child.py"
    script.write_text(code)
    real = simplify.subprocess.run

    def run(command: list[str], **settings: object) -> object:
        return real([command[0], str(script), *command[3:]], **settings)  # type: ignore[call-overload]

    monkeypatch.setattr(simplify.subprocess, "run", run)


def test_fewer_nodes_and_the_same_numbers() -> None:
    before, after = model(), model()
    assert apply(Simplify(), after)
    assert len(after.graph) < len(before.graph)
    same_numbers(before, after)


def kept(says: str) -> None:
    instance, graph = Simplify(), model()
    assert not apply(instance, graph)
    assert any(says in reason for reason in instance.take_declined())


def test_a_crash_is_told_and_the_graph_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_child(monkeypatch, tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    kept("exit code -11")


def test_endless_work_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_child(monkeypatch, tmp_path, "import time; time.sleep(60)")
    monkeypatch.setattr(simplify, "SECONDS", 0.5)
    kept("more than 0.5 seconds")


CHANGE = """
import sys, onnx
model = onnx.load(sys.argv[1])
{change}
onnx.save(model, sys.argv[2])
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("node = model.graph.node; node[0].op_type = 'Abs'; node[2].input[0] = 'r'; del node[1]", "computes"),
        ("", "as many nodes"),
        ("del model.graph.node[1]", "cannot be checked"),
        ("model.graph.node[2].input[0] = 'r'; del model.graph.node[1]; model.graph.input[0].name = 'z'; "
         "model.graph.node[0].input[0] = 'z'", "inputs or outputs"),
    ],
)  # fmt: skip
def test_what_it_breaks_is_told_and_the_graph_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str, says: str
) -> None:
    with_child(monkeypatch, tmp_path, CHANGE.format(change=change))
    kept(says)


def test_without_data_nothing_is_done() -> None:
    instance = Simplify()
    assert not apply(instance, parse(GRAPH))
    assert "no data" in instance.take_declined()[0]
