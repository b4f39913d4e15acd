"""OpenVINO with a user's library of extensions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

import backends
import compiler
from compiler.errors import CompileError, UsageError

# Not torch.linalg.det, which reaches every target in other operators.
MODEL = """<ir_version: 10, opset_import: ["" : 18]>
net (float[n,2,2] x) => (float[n] output) <float one = {1}> { d = Det(x)  output = Add(d, one) }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler to make an extension with")
    home, made = Path(openvino.__file__).parent, tmp_path_factory.mktemp("extension") / "determinant.so"
    libraries = [next((home / "libs").glob(f"{name}.so.*")) for name in ("libopenvino", "libopenvino_onnx_frontend")]
    source = Path(__file__).with_name("openvino_determinant.cpp")
    flags = ["-std=c++17", "-shared", "-fPIC", f"-I{home / 'include'}", "-o", str(made), str(source)]
    subprocess.run(["c++", *flags, *map(str, libraries)], check=True, timeout=120)
    return made


def compiled(folder: Path, extension: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), folder / "net.onnx")
    options = {"extension": str(extension)}
    result = compiler.compile(
        folder / "net.onnx", ["x:float32[n=1..4,2,2]"], target="openvino", output=folder / "b", options=options
    )
    assert result.passed
    return result.folder


def test_an_operator_that_the_frontend_lacks_is_converted_by_the_users_library(library: Path, tmp_path: Path) -> None:
    extension = shutil.copyfile(library, tmp_path / "mine.so")
    bundle = compiled(tmp_path, extension)
    extension.unlink()  # the bundle has its own
    moved = shutil.move(bundle, tmp_path / "moved")
    x = np.array([[[1, 2], [3, 4]], [[5, 0], [1, 2]]], np.float32)
    with backends.load(moved) as session:
        assert session({"x": x})["output"].tolist() == [-1, 11]


def test_a_library_that_was_changed_is_not_loaded(library: Path, tmp_path: Path) -> None:
    bundle = compiled(tmp_path, library)
    with (bundle / "extension.so").open("ab") as file:
        file.write(b"more")
    with pytest.raises(CompileError) as caught:
        backends.load(bundle)
    assert (caught.value.code, "extension.so" in str(caught.value.why)) == ("bundle-changed", True)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "no such file"), (b"no library", "Cannot load library")], ids=["missing", "text"]
)
def test_a_wrong_file_is_told(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "wrong.so"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        compiled(tmp_path, file)
    assert (caught.value.code, why in str(caught.value.why)) == ("bad-option", True)
    assert str(file) in caught.value.message


def test_a_library_without_extensions_is_told(tmp_path: Path) -> None:
    library = next((Path(openvino.__file__).parent / "libs").glob("libtbb.so*"))
    with pytest.raises(UsageError) as caught:
        compiled(tmp_path, library)
    assert "create_extensions" in str(caught.value.why)
