"""Many contenders side by side: nothing is cut at any width, and each is told by what it was accepted for."""

from __future__ import annotations

import pytest
import report_data as pages
from rich.console import Console

from compiler.report import bench

KEPT = {"output": "logits", "text": "cosine>=0.99", "worst": 0.9964}
TOLERANCE = {"output": "logits", "text": "the share of --atol 1 --rtol 0", "worst": 0.31}
LONG = "onnxruntime a-model-whose-folder-has-a-long-name"
MANY = {
    "openvino bfloat16": pages.error("passed", 431.0, promises=[KEPT], fidelity=0.31),
    "onnxruntime int8 static": pages.error("passed", 51300.0, promises=[KEPT, {**KEPT, "output": "b"}], fidelity=0.1),
    f"{LONG}-v1": pages.error("passed", 0.31),
    f"{LONG}-v2": pages.error("failed", 513000.0),
    "tvm": pages.error("not run", 0.2),
    "onnxruntime": pages.error("passed", 2.0, promises=[TOLERANCE]),
}
HEADS = ("p50 ms", "p99 ms", "ratio", "numbers", "calls/s", "calls/s x16", "start s", "MiB", "file")
CELLS = ("1.20 [1.19, 1.21]", "cosine 0.9964 +1", "31%", "DIFFERS", "BUILT, NOT RUN", "tolerance 31%", "12.3k", "3072")


@pytest.fixture(params=[80, 100, 140])
def shown(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setattr(bench, "page", lambda: Console(width=request.param, highlight=False))
    rows = [
        pages.row(name, 0.012 + 0.001 * place, None, error=error, rates={1: 88.1, 16: 12345.0}, peak=3 * 2**30)
        for place, (name, error) in enumerate(MANY.items())
    ]
    rows[-2]["note"] = "built and verified on another CPU"
    bench.show(pages.bench_table(rows=rows, against=f"{LONG}-v1"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= request.param
    return lines


def test_nothing_is_cut(shown: list[str]) -> None:
    said = "\n".join(shown)
    assert "…" not in said
    for text in (*HEADS, *CELLS):
        assert text in said
    column = "".join(line[1:].split("  ")[0] for line in shown if line.startswith(" ")).replace(" ", "")
    for name in MANY:  # a long one is folded
        assert name.replace(" ", "") in column


def test_each_is_told_by_what_it_was_accepted_for(shown: list[str]) -> None:
    joined = " ".join(" ".join(shown).split())
    assert "ratio: of the time of " + LONG in joined
    assert (
        "onnxruntime int8 static: it keeps cosine 0.9964 (>= 0.99) in 'logits', cosine 0.9964 (>= 0.99) in 'b', and "
        "10% of the error budget of its own graph" in joined
    )
    assert "onnxruntime: it keeps --atol 1 --rtol 0 (31% of it) in 'logits'" in joined
    assert f"{LONG}-v2: its numbers DIFFER: 5.13e+05 times its error budget" in joined
    assert "tvm: it was built where it could not run, so that its numbers are not known" in joined
    assert "tvm: built and verified on another CPU" in joined
    assert f"{LONG}-v1:" not in joined
