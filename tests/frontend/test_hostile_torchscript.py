"""TorchScript that writes files. Each attack is first shown to work on torch, then refused."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
import torch
from hostile_files import refused, written
from torch import nn

from compiler.frontend.hostile.torchscript import check_torchscript

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


class WritesOnLoad(nn.Module):
    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return torch.zeros(2), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.training = state[1]
        torch.save(state[0], "MARKER")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="module")
def script() -> dict[str, bytes]:
    buffer = io.BytesIO()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(WritesOnLoad()), buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    "code",
    [
        "torch.save(X)", "ops.aten.save(X)", "t = torch\n    t.save(X)", 'getattr(torch, "save")(X)',
        'getattr(torch, "sa" "ve")(X)', "o = ops.aten\n    o.save(X)",
    ],
)  # fmt: skip
def test_torchscript_that_writes_while_loading(code, script, marker, tmp_path):
    name, text = next(
        (name, text.decode()) for name, text in script.items() if b"__setstate__" in text and name.endswith(".py")
    )
    call = re.search(r"torch\.save\((.*)\)", text)
    assert call
    arguments = call[1].replace("MARKER", str(marker))
    text = text.replace(call[0], code.replace("X", arguments))
    path = written(tmp_path / "evil.pt", {**script, name: text.encode()})

    refused(check_torchscript, path)
    torch.jit.load(path)
    assert marker.exists(), "torch no longer falls for this: the check may have become needless"


@pytest.mark.parametrize(
    "code",
    [
        'x = torch.from_file("a", True)', "x = torch\\\n.save(x)", "x = torch .save(x)", "x = 'it is open",
        "x = ops.c10d.send(x)", "x = ops.debugprims.load_tensor(x)",
    ],
)  # fmt: skip
def test_torchscript_that_reaches_for_files(code, script, tmp_path):
    name = next(name for name in script if name.endswith(".py"))
    path = written(tmp_path / "evil.pt", {**script, name: f"def f(x):\n  {code}\n".encode()})
    refused(check_torchscript, path)


class Honest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.BatchNorm1d(3)])
        self.saved = 1

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        assert x.shape[0] > 0, "don't call torch.save(x) or getattr(torch, 'save')"
        for _ in range(self.saved):
            x = x + 1 if mask is None else x * mask.to(torch.float32)
        return x


def test_honest_torchscript_passes(tmp_path):
    for module in (Honest(), nn.MultiheadAttention(8, 2), nn.LSTM(3, 4), nn.TransformerEncoderLayer(8, 2)):
        torch.jit.script(module).save(tmp_path / "model.pt")
        check_torchscript(tmp_path / "model.pt")
