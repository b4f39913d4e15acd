from __future__ import annotations

from dataclasses import asdict

import pytest
from check import parse

from compiler.passes import pipeline
from compiler.report import explain

GRAPH = "(float[n,2,5,5] x) => (float[n,4,5,5] y, float[n,4,5,5] z) <float[4,2,1,1] w = {1, -2, 3, 4, 0.5, 6, -7, 8}, "
GRAPH += "float s = {2}> { t = Conv(x, w)  y = Mul(t, s)  i = Identity(t)  z = Relu(i) }"


def test_what_changed_and_what_was_declined(capsys: pytest.CaptureFixture[str]) -> None:
    explain.show([asdict(record) for record in pipeline.run(parse(GRAPH))])
    told = capsys.readouterr().out
    assert "remove-identities" in told and "-1\N{NO-BREAK SPACE}Identity" in told and "4 → 3" in told
    assert "fold-scales declined:" in told
    assert "1x the result of Conv has other users" in told
    assert "layers.1" in told
    assert "found nothing to do:" in told


def test_what_the_target_declined_while_building(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["matmul(a): float64 is not float32", "matmul(b): float64 is not float32"]
    explain.show([asdict(record) for record in pipeline.run(parse(GRAPH))], reasons)
    told = capsys.readouterr().out
    assert "the target declined:" in told
    assert "2x float64 is not float32\n      matmul(a); matmul(b)" in told


def test_operators_are_told_largest_first() -> None:
    assert explain.operators({"Conv": 1, "Add": -2, "Mul": 2}) == "-2 Add, +2 Mul, +1 Conv"
