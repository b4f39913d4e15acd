from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from check import parse

from compiler.contracts import Dim
from compiler.errors import InternalError
from compiler.ir.text import to_text
from compiler.passes import pipeline
from compiler.passes.watches import CheckNumbers, DumpGraphs, two_sizes

GRAPH = "(float[n,2] x) => (float[n,2] y) <float one = {1}> { i = Identity(x)  m = Mul(i, one)  y = Neg(m) }"


class Spoil(ir.passes.InPlacePass):
    """Breaks the numbers, and nothing else."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        next(node for node in model.graph if node.op_type == "Neg").op_type = "Abs"
        return ir.passes.PassResult(model, modified=True)


def test_every_pass_that_changed_something_leaves_its_graph(tmp_path: Path) -> None:
    model = parse(GRAPH)
    (tmp_path / "007-stale.txt").write_text("from another run")
    records = pipeline.run(model, watches=[DumpGraphs(tmp_path)])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files[0] == "000-start.txt"
    assert [name[4:-4] for name in files[1:]] == [record.name for record in records if record.modified]
    assert "layers.0" in (tmp_path / files[0]).read_text(), "with where each node comes from"
    assert (tmp_path / files[-1]).read_text() == to_text(model, with_provenance=True)


def draws() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {f"n={size}": {"x": rng.standard_normal((size, 2)).astype(np.float32)} for size in (1, 3)}


def test_numbers_that_hold_pass() -> None:
    pipeline.run(parse(GRAPH), watches=[CheckNumbers(draws())])


def test_a_pass_that_breaks_numbers_is_named_and_its_input_saved(tmp_path: Path) -> None:
    passes = [("remove-identities", pipeline.DEFAULT[0].make()), ("spoil", Spoil())]
    with pytest.raises(InternalError) as caught:
        pipeline.run_passes(parse(GRAPH), passes, watches=[CheckNumbers(draws())], repro=tmp_path / "repro")
    error = caught.value
    assert (error.code, error.message) == ("pass-broke-numbers", "the pass spoil changed what the model computes")
    assert error.why is not None and "n=1" in error.why and "'y'" in error.why
    assert error.repro == str(tmp_path / "repro" / "pass-input.onnx")
    saved = ir.load(error.repro)
    assert [node.op_type for node in saved.graph] == ["Identity", "Mul", "Neg"], "as the pass got it"


def test_a_pass_with_a_bug_is_named_and_its_input_saved(tmp_path: Path) -> None:
    class Buggy(ir.passes.InPlacePass):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            raise KeyError("nobody thought of this")

    with pytest.raises(InternalError) as caught:
        pipeline.run_passes(parse(GRAPH), [("buggy", Buggy())], repro=tmp_path)
    assert caught.value.code == "pass-crashed"
    assert "KeyError" in str(caught.value.why)
    assert ir.load(str(caught.value.repro)).graph.num_nodes() == 3


def test_two_sizes_of_every_dim() -> None:
    dims = {"n": Dim("n", 1, 8), "h": Dim("h", 32, 96, 32)}
    assert two_sizes(dims) == [{"n": 1, "h": 32}, {"n": 2, "h": 96}]
    assert two_sizes({}) == [{}]
