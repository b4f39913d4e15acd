from __future__ import annotations

import pytest
from check import parse

from compiler.contracts import PassRecord
from compiler.errors import CompileError, UsageError
from compiler.passes.expectations import check
from compiler.passes.expectations import parse as read

MODEL = "(float[2] x) => (float[2] y) { t = Relu(x)  y = Relu(t) }"


def record(name: str, *declined: str) -> PassRecord:
    return PassRecord(name, False, 2, 2, 0, 0, 0.0, declined)


def test_what_is_there_is_enough() -> None:
    check(parse(MODEL), {"Relu": 2, "Attention": 0}, [])


def test_what_is_missing_is_told_with_the_reasons_of_its_fusion() -> None:
    reason = "MatMul m, from layer.3: its mask has another shape"
    records = [
        record("fuse-attention", reason),
        record("fold-pads", "no"),
    ]
    with pytest.raises(CompileError) as caught:
        check(parse(MODEL), {"Relu": 2, "Attention": 12}, records)
    assert caught.value.code == "expectation-failed"
    assert caught.value.message == "expected 12 Attention, found 0"
    assert caught.value.why == reason


def test_no_place_looked_like_it() -> None:
    with pytest.raises(CompileError) as caught:
        check(parse(MODEL), {"Relu": 3}, [])
    assert "no place" in str(caught.value.why)


def test_how_it_is_written() -> None:
    assert read(["Attention=12", "Gelu=1, LayerNormalization=25"]) == {
        "Attention": 12,
        "Gelu": 1,
        "LayerNormalization": 25,
    }
    with pytest.raises(UsageError):
        read(["Attention"])
