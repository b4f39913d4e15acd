"""`compile bisect` where one of TVM's kernels is wrong: in the child process, with libraries that are really built."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backends import registry
from compiler.cli.main import run

MODEL = """\
import torch


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mix, self.down = torch.nn.LayerNorm(8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x):
        weights = torch.softmax(self.mix(self.norm(x)), -1)
        return x + torch.tanh(self.down(weights))


def build():
    torch.manual_seed(0)
    return Block()
"""
PACKAGE = Path(__file__).with_name("wrong_tvm")


@pytest.fixture
def wrong_tvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is installed, for child processes as well."""
    monkeypatch.syspath_prepend(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(registry, "_table", registry._table.__wrapped__)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("wrong_tvm")
@pytest.mark.parametrize(
    ("wrong", "operators", "line"),
    [("Softmax", ["Softmax"], 10), ("Tanh+Add", ["Tanh", "Add"], 11)],
)
def test_the_kernel_and_the_line_are_named(
    tmp_path: Path, wrong: str, operators: list[str], line: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    command = ["bisect", "net.py:build", "-t", "wrong-tvm", "--option", f"wrong-tvm.operator={wrong}"]
    assert run([*command, "-i", "x:float32[n=1..4,8]", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["stage"], found["culprit"].split()[0]) == ("runtime", "tvm")
    assert [place["operator"] for place in found["nodes"]] == operators
    assert f"net.py:{line}" in json.dumps(found["nodes"][0])
    assert {"reduced.onnx", "show.py", "got.npz"} <= {path.name for path in Path(found["folder"]).iterdir()}
