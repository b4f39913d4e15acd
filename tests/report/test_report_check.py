"""The page of a check."""

from __future__ import annotations

import json
from pathlib import Path

import report_data as pages
from read_page import Read

from compiler.check.cells import Cell, Figures, Measured, Numbers, failed
from compiler.check.judge import Finding, Judged
from compiler.check.render.page import page
from compiler.errors import CompileError, Exit


def figures(used: float) -> Figures:
    return Figures("float32", True, 2048, {}, {"torch": "2.13.0"}, {"y": Numbers(used, 0.9, 1e-6)})


WORSE = Finding("worse", f"{pages.HOSTILE} got worse", Exit.DIFFERS)
ALL = [
    Judged(Cell("a", "onnxruntime"), Measured("passed", figures(0.213), seconds=1.5), figures(0.2), ()),
    Judged(Cell(pages.HOSTILE, "tvm"), Measured("passed", figures(0.81), seconds=1.5), figures(0.02), (WORSE,)),
    Judged(Cell("new", "tvm"), Measured("passed", figures(0.0)), None, (Finding("note", "it is new"),)),
    Judged(Cell("b", "onnxruntime"), failed(CompileError("export-failed", "no")), None,
           (Finding("export-failed", "no", Exit.COMPILE),)),
    Judged(Cell("old", "tvm"), None, figures(0.1), (Finding("gone", "the lock has it", Exit.DIFFERS),)),
]  # fmt: skip


def test_what_does_not_hold_is_said_first_and_everything_is_there() -> None:
    read = Read(page(ALL, Path("parity.toml"), pages.HOST))
    assert "✗ 3 OF 5 DO NOT HOLD" in read.inside("strong")
    assert [one["id"] for one in read.all("section")] == ["cells", "findings", "numbers", "environment", "data"]
    assert len(read.all("svg")) == 1
    assert {"✗ worse", "✗ export-failed", "✗ gone", "! note"} <= {words for tag, words in read.words if tag == "b"}
    assert {"0.213", "0.81", "21%", "81%"} <= set(read.inside("td").split())
    told = json.loads(read.inside("pre"))
    assert [cell["failed"] for cell in told["cells"]] == [False, True, False, True, True]
    assert not read.all("script")


def test_all_holds() -> None:
    read = Read(page(ALL[:1], Path("parity.toml"), pages.HOST))
    assert "✓ ALL 1 HOLD" in read.inside("strong")


def test_nothing_was_compiled() -> None:
    read = Read(page(ALL[3:4], Path("parity.toml"), pages.HOST))
    assert not read.all("svg")
