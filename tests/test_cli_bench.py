"""`compile bench`: bundles of one model side by side, and beside what one would use without plumbline."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import compiler
import compiler.api
from compiler.bench import peaks
from compiler.cli.main import run
from compiler.report import profile as report

NETS = """
import torch

def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)).eval()

def other():
    torch.manual_seed(1)
    return torch.nn.Linear(16, 4).eval()
"""
INPUT = "input:float32[batch=1..32,16]"
QUICK = ("--budget", "8s", "--threads", "1", "--json")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small.onnxruntime, small.onnx and other.onnxruntime."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "nets.py").write_text(NETS)
    for name, target in (("small", "onnxruntime"), ("small", "onnx"), ("other", "onnxruntime")):
        compiler.compile(f"{folder / 'nets.py'}:{name}", [INPUT], target=target, output=folder, name=name)
    return folder


def bench(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    code = run(["bench", *map(str, words)])
    return code, json.loads(capsys.readouterr().out)


def test_bundles_beside_pytorch_and_a_plain_export(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.csv"
    sizes = ("--batch", "1,8", "--clients", "1,2", "--csv", file)
    code, told = bench(capsys, built / "small.onnxruntime", *QUICK, *sizes, "--against", "eager,onnxruntime")
    assert code == 0
    assert [(table["threads"], table["sizes"]) for table in told["tables"]] == [(1, {"batch": 1}), (1, {"batch": 8})]
    for table in told["tables"]:
        eager, plain, ours = table["rows"]
        assert [row["name"] for row in table["rows"]] == ["eager", "plain onnxruntime", "onnxruntime"]
        assert table["against"] == "eager"
        assert eager["ratio"] is None
        assert table["rounds"] >= 5
        for row in (eager, plain, ours):
            latency = row["latency"]
            assert row["error"]["status"] == "passed"
            assert 0 < row["error"]["used"] < 1
            assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
            assert latency["low"] <= latency["mean"] <= latency["high"]
            assert set(row["rates"]) == {"1", "2"}
            assert row["peak"] > 2**20
            assert row["steady_after"] >= 1
        for row in (plain, ours):
            assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
            assert row["disk"] > 1000
    lines = list(csv.DictReader(file.read_text().splitlines()))
    assert [(line["name"], line["batch"]) for line in lines] == [
        (name, batch) for batch in ("1", "8") for name in ("eager", "plain onnxruntime", "onnxruntime")
    ]
    assert all(float(line["latency_p50"]) > 0 for line in lines)


def test_a_model_is_compiled_first(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = f"{built / 'nets.py'}:other"
    code, told = bench(capsys, model, "-t", "onnxruntime", "-i", INPUT, "-o", tmp_path, *QUICK)
    assert code == 0
    assert [row["name"] for row in told["tables"][0]["rows"]] == ["onnxruntime"]
    assert told["tables"][0]["sizes"] == {"batch": 1}
    (page,) = tmp_path.glob("*.bench.html")
    assert '<section id="latency">' in page.read_text()


def test_two_bundles_for_one_target_are_called_by_their_folders(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.onnxruntime"
    shutil.copytree(built / "small.onnxruntime", again)
    code, told = bench(capsys, built / "small.onnxruntime", again, *QUICK)
    assert code == 0
    assert [row["name"] for row in told["tables"][0]["rows"]] == ["onnxruntime small", "onnxruntime again"]


def test_the_defaults_of_a_project_may_be_those_of_compiling(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plumbline.toml").write_text('target = "onnxruntime"\nthreads = "1"\nbudget = "8s"\n')
    monkeypatch.chdir(tmp_path)
    code, told = bench(capsys, built / "small.onnxruntime", "--json")
    assert code == 0
    assert told["tables"][0]["threads"] == 1


def test_what_a_person_sees(built: Path) -> None:
    shown = CliRunner().invoke(compiler_group(), ["bench", str(built / "small.onnxruntime"), *QUICK[:4], "--quiet"])
    assert shown.exit_code == 0
    assert "batch=1, 1 thread" in shown.output
    assert "At batch=1, 1 thread, onnxruntime is the fastest" in shown.output
    last = " ".join(shown.output.split())
    assert last.endswith(f"of its error budget; it is in {built / 'small.onnxruntime'}.")
    assert max(map(len, shown.output.splitlines())) <= 100


def test_where_the_time_goes(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peaks, "PRODUCTS", {"numpy": peaks.PRODUCTS["numpy"]})
    file = tmp_path / "bench.csv"
    words = (built / "small.onnxruntime", built / "small.onnx", *QUICK, "--profile", "--csv", file)
    code, told = bench(capsys, *words, "--html", tmp_path / "b.html")
    assert code == 0
    (profiles,) = told["profiles"]
    assert profiles["sizes"] == {"batch": 1}
    assert profiles["peaks"]["products"]["float32"]["rate"] > 1e9
    assert all(rate > 1e8 for rate in profiles["peaks"]["copies"].values())
    ours, other = profiles["profiles"]
    assert other["failure"] == "onnx does not tell how long its operators take"
    modules = {share["name"]: share for share in ours["by_module"]}
    assert {"0", "2"} <= set(modules)
    assert modules["0"]["flops"] == 2 * 16 * 32
    assert modules["2"]["flops"] == 2 * 32 * 4
    assert modules["0"]["roofline"] > 0
    for key in ("by_operator", "by_module"):
        assert sum(share["seconds"] for share in ours[key]) == pytest.approx(ours["total"]["seconds"])
    lines = list(csv.DictReader((tmp_path / "bench.operators.csv").read_text().splitlines()))
    assert '<section id="operators">' in (tmp_path / "b.html").read_text()
    assert [line["name"] for line in lines] == [step["name"] for step in ours["steps"]]
    report.show(profiles)
    shown = capsys.readouterr().out
    assert "where the time goes" in shown
    assert "small.onnx" not in shown
    assert "onnx was not profiled" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_contenders_are_held_to_cores(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core = max(os.sched_getaffinity(0))
    _, told = bench(capsys, built / "small.onnxruntime", *QUICK, "--cores", str(core))
    assert (told["tables"][0]["cores"], told["tables"][0]["pinned"]) == ([core], True)
    _, told = bench(capsys, built / "small.onnxruntime", *QUICK)
    assert (told["tables"][0]["cores"], told["tables"][0]["pinned"]) == (sorted(os.sched_getaffinity(0)), False)


def compiler_group() -> Any:
    from compiler.cli.main import group

    return group


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["small.onnxruntime", "other.onnxruntime"], "different-models", "not the same model"),
        (["small.onnxruntime", "--against", "eagre"], "bad-option", "did you mean 'eager'?"),
        (["small.onnxruntime", "--size", "btch=2"], "unknown-dim", "did you mean 'batch'?"),
        (["small.onnxruntime", "--batch", "64"], "bad-option", "out of the range"),
        (["small.onnxruntime", "--batch", "two"], "bad-option", "write 1,8"),
        (["small.onnxruntime", "--cores", "999999"], "bad-option", "there is no core 999999 to use"),
        (["small.onnxruntime", "--cores", "first"], "bad-option", "write 0,1"),
        (["small.onnxruntime", "--budget", "soon"], "bad-option", "write 60s, 5m or 20ms"),
        (["small.onnxruntime", "--budget", "0.01s"], "budget-too-short", "too short to time 1 contenders"),
        (["gone.onnxruntime"], "not-a-bundle", "gone.onnxruntime"),
    ],
)
def test_what_cannot_be_compared(
    built: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str, text: str
) -> None:
    things = [str(built / word) if word.endswith(".onnxruntime") else word for word in words]
    assert run(["bench", *things, "--json"]) != 0
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code
    assert text in json.dumps(error)


def test_a_bundle_that_was_made_from_a_model_that_is_gone(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    compiler.compile(f"{tmp_path / 'nets.py'}:small", [INPUT], target="onnxruntime", output=tmp_path, name="small")
    (tmp_path / "nets.py").unlink()
    assert run(["bench", str(tmp_path / "small.onnxruntime"), "--against", "eager", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no-model"
    words = ["--against", "eager", "--model", f"{built / 'nets.py'}:small"]
    code, told = bench(capsys, tmp_path / "small.onnxruntime", *QUICK, *words)
    assert code == 0
    assert told["tables"][0]["rows"][0]["error"]["status"] == "passed"


def test_one_that_cannot_start_is_told_and_the_others_are_timed(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, foreign, vanished = (tmp_path / f"{name}.onnxruntime" for name in ("broken", "foreign", "vanished"))
    for folder in (broken, foreign, vanished):
        shutil.copytree(built / "small.onnxruntime", folder)
    (broken / "model.onnx").write_bytes(b"changed")
    rewrite(foreign, lambda manifest: manifest["host"].update(cpu="a CPU of another kind"))
    rewrite(foreign, lambda manifest: manifest["artifact"].update(runtime="onnxruntime 0.9"))
    rewrite(vanished, lambda manifest: manifest["artifact"].update(target="gone"))
    code, told = bench(capsys, broken, foreign, vanished, *QUICK)
    assert code == 1
    rows = {row["name"]: row for row in told["tables"][0]["rows"]}
    assert rows["onnxruntime broken"]["failure"]
    assert rows["onnxruntime broken"]["latency"] is None
    assert "there is no target 'gone'" in rows["gone"]["failure"]
    assert rows["onnxruntime foreign"]["latency"]["p50"] > 0
    note = "built and verified with onnxruntime 0.9 on a CPU of another kind, and this is onnxruntime 1."
    assert rows["onnxruntime foreign"]["note"].startswith(note)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_auto_keeps_the_best_with_its_evidence(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.auto.runnable", lambda: ["onnxruntime"])
    words = ["-t", "auto", "-i", INPUT, "-o", str(tmp_path), "--name", "net", "--budget", "10s", "--json"]
    assert run([f"{built / 'nets.py'}:small", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = tmp_path / "net.auto"
    assert [path.name for path in tmp_path.iterdir()] == ["net.auto"]
    evidence = json.loads((folder / "choice.json").read_text())
    assert evidence["chosen"] == told["chosen"]
    assert told["chosen"].startswith("onnxruntime")
    rows = [row["name"] for row in evidence["table"]["rows"]]
    assert rows == ["eager", "onnxruntime", "onnxruntime level=extended", "onnxruntime threads=1"]
    assert evidence["warnings"] == [] or "SLOWER THAN" in evidence["warnings"][0]
    chosen = dict(word.split("=") for word in told["chosen"].split()[1:])
    assert len(told["artifact"]["options"]) == len(chosen)
    assert compiler.api.verify(folder).passed
    assert '<section id="choice">' in (folder / "report.html").read_text()


def test_auto_refuses_when_nothing_keeps_the_limits(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.auto.runnable", lambda: ["onnxruntime"])
    # A budget that is too short for five rounds is no reason to throw away what was built.
    words = ["-t", "auto", "-i", INPUT, "-o", str(tmp_path), "--budget", "0.01s", "--json"]
    limits = ["--for", "memory", "--max-latency", "0.0001ms", "--max-size", "1K"]
    assert run([f"{built / 'nets.py'}:small", *words, *limits]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "no-candidate"
    for name in ("onnxruntime", "onnxruntime arena=false prepacking=false"):
        assert f"{name}: a call takes " in error["why"]
    assert error["why"].endswith("and may take 0.0001; it has 0.0 MiB, and may have 0.0")
    assert list(tmp_path.iterdir()) == []


def test_auto_chooses_only_among_what_is_proven(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([f"{built / 'nets.py'}:small", "-t", "auto", "-i", INPUT, "--no-verify", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "auto chooses among what is proven"
