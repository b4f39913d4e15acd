"""Formats are told by content. Every file here is written by the library that owns its format."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compiler.errors import CompileError, PlumblineError, UsageError
from compiler.frontend.detect import Format, detect, is_factory_reference, pickled_globals

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).relu()


def write_exported(path: Path) -> None:
    with path.open("wb") as stream:
        torch.export.save(torch.export.export(Net(), (torch.ones(2, 3),)), stream)


def write_traced(path: Path) -> None:
    torch.jit.trace(Net(), torch.ones(2, 3)).save(path)


def write_scripted(path: Path) -> None:
    torch.jit.script(Net()).save(path)


def write_state_dict(path: Path) -> None:
    torch.save(Net().state_dict(), path)


def write_legacy_state_dict(path: Path) -> None:
    torch.save(Net().state_dict(), path, _use_new_zipfile_serialization=False)


def write_checkpoint(path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": Net().state_dict(), "names": ["a"], "shape": torch.Size([3])}, path)


def write_pickled(path: Path) -> None:
    torch.save(Net(), path)


def write_legacy_pickled(path: Path) -> None:
    torch.save(Net(), path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path) -> None:
    save_file(Net().state_dict(), path)


def write_onnx(path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    path.write_bytes(model.SerializeToString())


FORMATS = {
    write_exported: Format.EXPORTED_PROGRAM,
    write_traced: Format.TORCHSCRIPT,
    write_scripted: Format.TORCHSCRIPT,
    write_state_dict: Format.STATE_DICT,
    write_legacy_state_dict: Format.STATE_DICT,
    write_checkpoint: Format.STATE_DICT,
    write_pickled: Format.PICKLED_MODULE,
    write_legacy_pickled: Format.PICKLED_MODULE,
    write_safetensors: Format.SAFETENSORS,
    write_onnx: Format.ONNX,
}


@pytest.mark.parametrize("suffix", ["right", ".bin", ".onnx", ".pt2"])
@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_format_is_told_by_content(write, suffix, tmp_path):
    path = tmp_path / f"model{'.model' if suffix == 'right' else suffix}"
    write(path)
    assert detect(path) is FORMATS[write]


@pytest.mark.parametrize("name", ["file.py:make", "some/where/file.py:make", "/a b/file.py:Net.tiny", "pkg.mod:make"])
def test_factory_references(name):
    assert is_factory_reference(name)
    assert detect(name) is Format.FACTORY


@pytest.mark.parametrize("name", ["model.pt", "file.py", "file.py:", ":make", "pkg.mod:", "file.py:1x", "a b:c", ""])
def test_not_factory_references(name):
    assert not is_factory_reference(name)


def test_pickled_module_names_what_it_imports(tmp_path):
    for write in (write_pickled, write_legacy_pickled):
        write(tmp_path / "model.pt")
        found = pickled_globals(tmp_path / "model.pt")
        assert f"{__name__}.Net" in found
        assert "torch.nn.modules.linear.Linear" in found
        assert not [name for name in found if "rebuild" in name or "OrderedDict" in name]


def test_a_number_outside_torch_makes_it_a_pickled_module(tmp_path):
    torch.save({"weight": torch.ones(2), "lr": np.float64(0.1)}, tmp_path / "model.pt")
    assert detect(tmp_path / "model.pt") is Format.PICKLED_MODULE


def test_neither_torch_nor_onnx_is_imported(tmp_path):
    for write in FORMATS:
        write(tmp_path / write.__name__)
    script = (
        "import sys, pathlib\n"
        "from compiler.frontend.detect import detect\n"
        f"for path in pathlib.Path({str(tmp_path)!r}).iterdir(): detect(path)\n"
        "assert not {'torch', 'onnx', 'numpy', 'safetensors'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


# -- folders ----------------------------------------------------------------------------------------------------


def hugging_face_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    write_safetensors(folder / "model.safetensors")
    return folder


def test_hugging_face_folder(tmp_path):
    assert detect(hugging_face_folder(tmp_path / "model")) is Format.HUGGING_FACE


@pytest.mark.parametrize(
    "weights", ["pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"]
)
def test_hugging_face_weights_may_be_sharded_or_pickled(weights, tmp_path):
    folder = hugging_face_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / weights)
    assert detect(folder) is Format.HUGGING_FACE


def test_bundle(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    assert detect(tmp_path) is Format.BUNDLE


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "manifest.json"),
        ({"config.json": '{"model_type": "bert"}'}, "no weights"),
        ({"config.json": '{"a": 1}', "pytorch_model.bin": "x"}, "model_type"),
        ({"config.json": '{"model_type": "bert"}', "tf_model.h5": "x"}, "TensorFlow"),
        ({"model_index.json": "{}"}, "diffusers"),
        ({"adapter_config.json": "{}"}, "adapter"),
        ({"saved_model.pb": "x"}, "SavedModel"),
        ({"manifest.json": '{"name": "web app"}'}, "neither"),
        ({"config.json": "{"}, "Expecting"),
    ],
)
def test_folder_that_is_no_model(files, why, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    error = refused(tmp_path)
    assert error.code == "not-a-model"
    assert why in (error.why or "")


def test_folder_points_at_the_models_in_it(tmp_path):
    write_onnx(tmp_path / "model.onnx")
    assert str(tmp_path / "model.onnx") in (refused(tmp_path).hint or "")


def test_weights_left_in_git_lfs(tmp_path):
    folder = hugging_face_folder(tmp_path / "model")
    (folder / "model.safetensors").write_text(LFS_POINTER)
    assert refused(folder).code == "git-lfs-pointer"


# -- everything else --------------------------------------------------------------------------------------------

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def refused(path: Path) -> PlumblineError:
    with pytest.raises(PlumblineError) as caught:
        detect(path)
    assert caught.value.why, "an error says why"
    assert caught.value.hint or caught.value.code == "no-such-file", "an error says what to try"
    return caught.value


def test_no_such_file_suggests_a_sibling(tmp_path):
    write_onnx(tmp_path / "resnet.onnx")
    for missing in ("resnet.onx", "resnet.pt"):
        error = refused(tmp_path / missing)
        assert isinstance(error, UsageError)
        assert error.code == "no-such-file"
        assert "resnet.onnx" in (error.hint or "")


def test_no_such_folder(tmp_path):
    error = refused(tmp_path / "nowhere" / "model.pt")
    assert "there is no folder" in (error.why or "")


def test_a_name_no_file_system_takes(tmp_path):
    assert refused(tmp_path / ("x" * 5000)).code in ("unreadable-file", "no-such-file")
    assert refused(Path("a\0b")).code in ("unreadable-file", "no-such-file")


def test_empty_file(tmp_path):
    (tmp_path / "model.pt").touch()
    assert refused(tmp_path / "model.pt").code == "empty-file"


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_truncated_files(write, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "model.pt"
    write(whole)
    data = whole.read_bytes()
    for length in (1, 7, 9, len(data) // 3, len(data) - 30):
        path.write_bytes(data[:length])
        try:
            detect(path)
        except CompileError as error:
            assert error.why and error.hint
        else:
            # Only formats whose end nothing points to can be cut unseen here; their loaders notice.
            assert write in (write_safetensors, write_legacy_state_dict, write_legacy_pickled)


def npz(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    path.with_suffix(".npz").rename(path)


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "model.py")


def some_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def npy(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.ones(3))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (LFS_POINTER, "large files"),
        ("def make():\n    return 1\n", "text file"),
        ("<!DOCTYPE html><html>404</html>", "web page"),
        ("<?xml version='1.0'?><net name='m'></net>", "OpenVINO"),
        ("ein Modell: größer als 4096 Zeichen " * 300, "text file"),
        (npz, "npz"),
        (npy, "numpy array"),
        (tar, "tar archive"),
        (some_zip, "readme.txt"),
        (pickle.dumps({"a": 1}), "pickle that torch did not write"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (bytes(range(1, 200)), "no format"),
        (b"\0" * 5000, "no format"),
        (b"\xff" * 5000, "no format"),
        (b"\x08", "no format"),
    ],
)  # fmt: skip
def test_other_files_are_named(content, why, tmp_path):
    path = tmp_path / "model.pt"
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    error = refused(path)
    assert why in (error.why or "")


def test_python_source_asks_for_the_factory(tmp_path):
    (tmp_path / "net.py").write_text("def make(): ...\n")
    assert f"{tmp_path / 'net.py'}:" in (refused(tmp_path / "net.py").hint or "")


def test_old_export_layout(tmp_path):
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("version", "8.2")
        archive.writestr("serialized_exported_program.json", "{}")
    assert refused(tmp_path / "old.pt2").code == "old-format"


def test_compiled_package_has_no_graph(tmp_path):
    with zipfile.ZipFile(tmp_path / "aoti.pt2", "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/data/aotinductor/model/x.so", b"\x7fELF")
    assert "AOTInductor" in (refused(tmp_path / "aoti.pt2").why or "")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_file(tmp_path):
    write_onnx(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").chmod(0)
    assert refused(tmp_path / "model.onnx").code == "unreadable-file"


def test_unreadable_file_as_anyone(tmp_path, monkeypatch):
    write_onnx(tmp_path / "model.onnx")

    def denied(self: Path, *_: object, **__: object) -> io.BytesIO:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    error = refused(tmp_path / "model.onnx")
    assert error.code == "unreadable-file"
    assert "chmod" in (error.hint or "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are Unix's")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in (refused(tmp_path / "pipe").why or "")
