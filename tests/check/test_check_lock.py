"""parity.lock: stable text that says nothing about the machine, and clear words for one that cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.check import lock
from compiler.check.cells import Cell, Figures, Numbers
from compiler.errors import UsageError

FIGURES = Figures(
    precision="float32",
    ran=True,
    bytes=848_766,
    fusions={"Gelu": 2, "Attention": 2},
    versions={"torch": "2.13.0+cpu", "onnxruntime": "1.31.1"},
    outputs={"state.0": Numbers(0.21349, 0.85123, 2.1567e-06), "ids": Numbers(0.0, 0.0, 0.0)},
)
TEXT = """\
schema = 1

[a.tvm.float32]
ran = false
bytes = 849000
versions = { onnxruntime = "1.31.1", torch = "2.13.0+cpu" }
fusions = { Attention = 2, Gelu = 2 }
outputs.ids = { used = 0, rms = 0, error = 0 }
outputs."state.0" = { used = 0.21, rms = 0.85, error = 2.2e-06 }

["b/2".onnxruntime.float32]
ran = true
bytes = 849000
versions = { onnxruntime = "1.31.1", torch = "2.13.0+cpu" }
outputs.ids = { used = 0, rms = 0, error = 0 }
outputs."state.0" = { used = 0.21, rms = 0.85, error = 2.2e-06 }
"""
CELLS = {
    Cell("b/2", "onnxruntime"): replace(FIGURES, fusions={}),
    Cell("a", "tvm"): replace(FIGURES, ran=False),
}


def test_it_is_sorted_and_rounded() -> None:
    text = lock.text(CELLS)
    assert "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#")) == TEXT


def test_what_is_written_is_read(tmp_path: Path) -> None:
    lock.write(tmp_path / "parity.lock", CELLS)
    read = lock.read(tmp_path / "parity.lock")
    assert read == {cell: lock.rounded(figures) for cell, figures in CELLS.items()}
    lock.write(tmp_path / "again.lock", read)
    assert (tmp_path / "again.lock").read_bytes() == (tmp_path / "parity.lock").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.lock", "parity.lock"]


@pytest.mark.parametrize("name", ["größe", 'a"b', "a\\b", "a b", "", "x\ny"])
def test_any_name_can_be_written(name: str, tmp_path: Path) -> None:
    outputs = {name: Numbers(0.5, 1.0, 1e-6)}
    cells = {Cell(name, "onnxruntime"): replace(FIGURES, bytes=1000, outputs=outputs)}
    lock.write(tmp_path / "parity.lock", cells)
    assert lock.read(tmp_path / "parity.lock") == cells


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, "no-lock", "compile check --update writes it"),
        ("<<<<<<< HEAD\n", "bad-lock", "settle the conflict"),
        ("[a.b.c]\n", "bad-lock", "remove it"),
        ("schema = 2\n", "bad-lock", "update plumbline"),
        ("schema = 1\n[a.tvm.float32]\nran = true\n", "bad-lock", "remove the table"),
        ("schema = 1\na = 3\n", "bad-lock", "remove the table"),
    ],
)
def test_a_lock_that_cannot_be_read_says_what_to_do(text: str | None, code: str, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "parity.lock").write_text(text)
    with pytest.raises(UsageError) as caught:
        lock.read(tmp_path / "parity.lock")
    assert caught.value.code == code
    assert said in str(caught.value.hint)


def test_edges_are_written_and_read(tmp_path: Path) -> None:
    cells = {Cell("a", "tvm"): replace(FIGURES, edges={"NaN in x: y": "a number for a NaN", "ties": "it crashed"})}
    lock.write(tmp_path / "parity.lock", cells)
    text = (tmp_path / "parity.lock").read_text()
    assert 'edges."NaN in x: y" = "a number for a NaN"\nedges.ties = "it crashed"\n' in text
    assert lock.read(tmp_path / "parity.lock") == {cell: lock.rounded(figures) for cell, figures in cells.items()}
