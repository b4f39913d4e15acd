"""The reports for machines hold whatever a runtime's message holds."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from compiler.check.cells import Cell, Figures, Measured, Numbers, failed
from compiler.check.judge import Finding, Judged
from compiler.check.manifest import Entry
from compiler.check.render import github, lines, table
from compiler.check.render.document import document
from compiler.check.render.junit import junit
from compiler.check.render.markdown import markdown
from compiler.errors import CompileError, Exit

HOSTILE = "100 % <b>wrong</b> | a, b: c\n\x1b[31mred\x1b[0m \x00"
FIGURES = Figures("float32", True, 2048, {}, {}, {"y": Numbers(0.21, 0.9, 1e-6), "z": Numbers(0.02, 1.4, 1e-6)})
PASSED = Judged(Cell("a", "onnxruntime"), Measured("passed", FIGURES, seconds=1.5), FIGURES, ())
CACHED = Judged(Cell("a", "tvm"), Measured("passed", FIGURES, seconds=9.0, cached=True), FIGURES, ())
BUILT = Judged(
    Cell("a", "tensorrt"),
    Measured("not run", FIGURES, seconds=0.5),
    FIGURES,
    (Finding("built-not-run", "built, not run; the manifest allows it"),),
)
BROKEN = Judged(
    Cell("b", "onnxruntime"),
    failed(CompileError("export-failed", HOSTILE)),
    None,
    (Finding("export-failed", HOSTILE, Exit.COMPILE),),
)
GONE = Judged(Cell("old", "tvm"), None, FIGURES, (Finding("gone", "the lock has it", Exit.DIFFERS),))
ALL = [PASSED, CACHED, BUILT, BROKEN, GONE]
MANIFEST = Path("parity.toml")


def test_junit_counts_and_can_be_read() -> None:
    root = ElementTree.fromstring(junit(ALL))
    assert root.attrib == {
        "name": "compile check", "tests": "5", "failures": "2", "skipped": "1", "errors": "0", "time": "2.000",
    }  # fmt: skip
    assert [suite.get("name") for suite in root] == ["a", "b", "old"]
    failure = root.find("testsuite[@name='b']/testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.startswith("100 % <b>wrong</b> | a, b: c\n")
    assert "\x1b" not in failure.text
    assert root.find("testsuite/testcase[@name='tensorrt']/skipped") is not None


def test_markdown_keeps_its_table() -> None:
    text = markdown(ALL, MANIFEST)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(ALL)
    assert len({row.count("|") for row in rows}) == 1
    assert "<b>" not in text
    assert "parity.toml: 3 of 5 hold; 1 not compiled again" in text


def test_annotations_are_one_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    entries = [Entry("b", "b.py:build", ("onnxruntime",), line=7)]
    found = list(github.commands(ALL, entries, tmp_path / "ci" / "parity.toml"))
    assert [line.partition(" ")[0] for line in found] == ["::notice", "::error", "::error"]
    assert not any("\n" in line for line in found)
    assert found[1].startswith(
        "::error file=ci/parity.toml,line=7,title=b on onnxruntime%3A export-failed::100 %25 <b>"
    )


def test_the_document_holds_everything() -> None:
    found = document(ALL, MANIFEST)
    assert found["exit_code"] == Exit.DIFFERS
    assert [cell["failed"] for cell in found["cells"]] == [False, False, False, True, True]
    assert found["cells"][0]["measured"]["figures"]["outputs"]["y"]["used"] == 0.21


def test_the_table_shows_the_worst_output(capsys: pytest.CaptureFixture[str]) -> None:
    shown = dict(zip(lines.COLUMNS, lines.row(PASSED), strict=False))
    assert shown["of its budget"] == "21%"
    assert lines.row(PASSED)[5:7] == ("1.4", "1.4")
    assert lines.row(CACHED)[-1] == "cached"
    assert lines.row(GONE)[2] == "gone"
    table.show(ALL, MANIFEST, quiet=False)
    out = capsys.readouterr().out
    assert all(len(line) <= 100 for line in out.splitlines())
    assert "error: b on onnxruntime: 100 %" in out
