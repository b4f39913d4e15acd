"""Exported programs and TorchScript archives, from a checked file to a live object."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from hostile_files import refused
from loaded import Net, is_settled
from shrink import tiny_model
from torch import nn

from compiler.errors import CompileError, UnavailableError
from compiler.frontend.loaders.exported import load_exported
from compiler.frontend.loaders.torchscript import TracedInput, load_torchscript

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


def test_exported(tmp_path):
    module, x = Net().eval(), torch.randn(2, 3)
    for name in ("model.pt2", "model.bin"):
        with (tmp_path / name).open("wb") as stream:
            torch.export.save(torch.export.export(module, (x,)), stream)
        program = load_exported(tmp_path / name)
        torch.testing.assert_close(program.module()(x), module(x))
        torch.testing.assert_close(program.example_inputs[0][0], x)


def test_exported_under_another_name(tmp_path):
    from torch.export.pt2_archive._package import package_pt2

    with (tmp_path / "model.pt2").open("w+b") as stream:
        package_pt2(stream, exported_programs={"encoder": torch.export.export(Net().eval(), (torch.ones(1, 3),))})
    error = refused(load_exported, tmp_path / "model.pt2", "encoder", "unreadable-model")
    assert "model" in error.message


def test_exported_by_a_newer_torch(tmp_path):
    import zipfile

    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.ones(1, 3),)), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "model.pt2", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"99" if name.endswith("archive_version") else old.read(name))
    refused(load_exported, tmp_path / "model.pt2", "99", "unreadable-model")


def test_exported_program_that_returns_a_class_of_transformers(tmp_path, monkeypatch):
    from compiler.frontend.loaders import exported

    program = torch.export.export(tiny_model("bert", "BertModel"), (torch.ones(1, 5, dtype=torch.long),))
    with (tmp_path / "model.pt2").open("wb") as stream:
        torch.export.save(program, stream)
    imported: list[str] = []
    monkeypatch.setattr(exported.importlib, "import_module", imported.append)
    load_exported(tmp_path / "model.pt2")
    assert imported == ["transformers", "transformers.modeling_outputs"]

    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnavailableError, match="transformers"):
        load_exported(tmp_path / "model.pt2")


@pytest.mark.parametrize("mode", ["traced", "scripted"])
def test_torchscript(mode, tmp_path):
    module, x = Net(), torch.randn(2, 3)
    script = torch.jit.trace(module.eval(), x) if mode == "traced" else torch.jit.script(module.train())
    script.save(tmp_path / "model.pt")
    loaded, inputs = load_torchscript(tmp_path / "model.pt")
    assert is_settled(loaded)
    torch.testing.assert_close(loaded(x), module.eval()(x))
    assert inputs == ([TracedInput("float32", (2, 3))] if mode == "traced" else None)


def test_traced_inputs_keep_their_structure(tmp_path):
    class Nested(nn.Module):
        def forward(self, ids, rest: dict[str, torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]):
            return ids + rest["a"] + pair[0] + pair[1]

    ones = torch.ones(2, 1)
    inputs = (ones.long(), {"a": ones.double()}, (ones.half(), ones.bool()))
    torch.jit.trace(Nested(), inputs).save(tmp_path / "model.pt")
    traced = {dtype: TracedInput(dtype, (2, 1)) for dtype in ("int64", "float64", "float16", "bool")}
    found = load_torchscript(tmp_path / "model.pt")[1]
    assert found == [traced["int64"], {"a": traced["float64"]}, (traced["float16"], traced["bool"])]


def test_torchscript_without_forward(tmp_path):
    torch.jit.script(nn.GRU(3, 4)).save(tmp_path / "model.pt")
    with pytest.raises(CompileError, match="no forward"):
        load_torchscript(tmp_path / "model.pt")


def test_damaged_torchscript(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version", "code/x.py"):
            archive.writestr(f"model/{name}", b"3" if name == "version" else b"")
    with pytest.raises(CompileError) as caught:
        load_torchscript(tmp_path / "model.pt")
    assert caught.value.code == "unreadable-model"
