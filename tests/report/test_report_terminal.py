"""What a command says last: one plain sentence, within 100 columns."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_data as pages

from compiler.report import auto, bench, terminal
from compiler.report.terminal import say


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle, as far as the terminal looks at it."""
    monkeypatch.chdir(tmp_path)
    folder = Path("build") / "net.onnxruntime"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x" * 2048)
    return folder


def last_sentence(said: str) -> str:
    assert all(len(line.rstrip()) <= 100 for line in said.splitlines())
    lines = said.rstrip().splitlines()
    start = max(
        place for place, line in enumerate(lines) if line[:1].isupper() and not lines[place - 1].endswith(" of")
    )
    return " ".join(" ".join(lines[start:]).split())


@pytest.mark.parametrize("status", ["passed", "failed", "not run", "skipped"])
def test_a_compilation_ends_with_how_equal_and_where(
    status: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_result(folder, pages.manifest(status=status), quiet=False)
    said = capsys.readouterr().out
    assert "model.onnx: 2.0 KiB; for reading: report.html" in said
    assert last_sentence(said).endswith("it is in build/net.onnxruntime.")


def test_several_targets_end_with_how_many(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejected = (folder, pages.manifest(status="failed"))
    terminal.show_comparison([("a", (folder, pages.manifest())), ("b", rejected), ("c", "unsupported-op")])
    last = last_sentence(capsys.readouterr().out)
    assert last == "Built for 2 of 3 targets, and 1 passed; they are in build."
    terminal.show_comparison([("c", "unsupported-op")])
    assert last_sentence(capsys.readouterr().out) == "Built for none of 1 targets."


def test_a_choice_ends_with_how_much_faster(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auto.show(folder, {**pages.choice(), "failed": {}}, quiet=False)
    last = last_sentence(capsys.readouterr().out)
    assert last.startswith("Chosen: onnxruntime, ")
    assert "2.38 times as fast as eager" in last
    assert last.endswith("it uses 18% of its error budget; it is in build/net.onnxruntime.")


def test_a_bench_ends_with_the_fastest(capsys: pytest.CaptureFixture[str]) -> None:
    table = pages.bench_table()
    bench.show(table)
    say(bench.sentence(table))
    assert last_sentence(capsys.readouterr().out).startswith("At batch=8, 2 threads, openvino is the fastest: ")


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        ((0.25, 0.24, 0.26), "4 times as fast as eager"),
        ((0.001, 0.0009, 0.0011), "1,000 times as fast as eager"),
        ((2.0, 1.9, 2.1), "2 times as slow as eager"),
        ((0.99, 0.97, 1.01), "as fast as eager"),
    ],
)
def test_a_ratio_in_words(ratio: tuple[float, float, float], words: str) -> None:
    assert bench.faster(dict(zip(("value", "low", "high"), ratio, strict=True)), "eager") == words
