"""`compile bisect`, on faults that are really there: in a runtime, in a translation, in a branch of the model's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MLP_INPUT

from compiler.cli.main import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bisect.md"
FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```python\n(?P<text>.*?)```", re.S)
REPORT = re.compile(r"^```\n\$ compile (?P<command>bisect [^\n]*)\n(?P<said>.*?)^```", re.S | re.M)
REPORTS = {match["command"].split()[1].partition(".")[0]: match for match in REPORT.finditer(PAGE.read_text())}


def without_numbers(text: str) -> list[str]:
    """Another processor rounds otherwise."""
    return [re.sub(r"-?\d[\d.,]*(e[+-]?\d+)?", "#", line.rstrip()) for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in FILE.finditer(PAGE.read_text()):
        (tmp_path / file["name"]).write_text(file["text"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["pool", "gelu"])
def test_the_reports_on_the_page_are_what_it_says(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    assert run(shlex.split(REPORTS[name]["command"])) == 3
    assert without_numbers(capsys.readouterr().out) == without_numbers(REPORTS[name]["said"])
    found = folder / "build" / f"{name}.onnxruntime.bisect"
    done = subprocess.run([sys.executable, "show.py"], cwd=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    off = re.search(r": off by ([\d.e-]+), values are up to ([\d.e-]+)", done.stdout)
    assert off is not None and float(off[1]) > 1e-5 * float(off[2])


BRANCHES = """\
import torch


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)

    def forward(self, x):
        form = "tanh" if torch.compiler.is_exporting() else "none"
        return x + self.down(torch.nn.functional.gelu(self.up(x), approximate=form))


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(Block(), Block())
"""


def test_a_branch_that_only_the_exporter_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "branches.py").write_text(BRANCHES)
    code = run(["bisect", "branches.py:build", "-t", "onnxruntime", "-i", "input:float32[n=1..4,8]", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (code, found["stage"], found["culprit"]) == (3, "exporter", "torch.export")
    assert found["sentence"].startswith("torch.export: the input of '0.down' (branches.py:11)")
    assert found["notes"] == ["still right before it: the result of '0.up'"]


def test_nothing_differs(mlp_file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "plumbline.toml").write_text('target = "onnxruntime"\nstrip-provenance = true\n')
    code = run(["bisect", f"{mlp_file}:build", "-i", MLP_INPUT, "--quiet"])
    assert code == 0
    assert capsys.readouterr().out.startswith("Nothing differs: on onnxruntime")
    assert not list((folder / "build").iterdir())


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize("bisected", [True, False])
def test_compiling_says_where_by_itself(
    mlp_file: Path, folder: Path, capsys: pytest.CaptureFixture[str], bisected: bool
) -> None:
    arguments = [f"{mlp_file}:build", "-t", "wrong", "-i", MLP_INPUT, "--json", *([] if bisected else ["--no-bisect"])]
    assert run(arguments) == 3
    found = json.loads(capsys.readouterr().out)
    folders = {path.name for path in (folder / "build").iterdir()}
    if bisected:
        assert found["diagnosis"]["stage"] == "runtime"
        assert found["diagnosis"]["nodes"][-1]["operator"] == "Gemm"
        assert folders == {"mlp.wrong.rejected", "mlp.wrong.bisect"}
    else:
        assert "diagnosis" not in found
        assert folders == {"mlp.wrong.rejected"}


@pytest.mark.usefixtures("third_party")
def test_a_target_that_cannot_run_is_judged_by_its_graph(
    mlp_file: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bisect", f"{mlp_file}:build", "-t", "faithless", "-i", MLP_INPUT, "--quiet"]) == 3
    said = capsys.readouterr().out
    assert said.startswith("faithless's own pass drop-relu changes what the model computes.")
    assert run(["bisect", f"{mlp_file}:build", "-t", "homeless", "-i", MLP_INPUT, "--quiet"]) == 0
    assert "cannot run here" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "code"), [([], "no-target"), (["-t", "onnxruntime,openvino"], "bad-option")])
def test_it_is_about_one_target(
    mlp_file: Path, arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bisect", f"{mlp_file}:build", "-i", MLP_INPUT, *arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
