"""TVM: libraries that were compiled before are found again, and only where they are the same to the last byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contract import AFFINE, BackendContract, N

from backends.tvm import library_cache, link
from compiler import cache


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ROOT, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Built:
    target = "tvm"
    opened = BackendContract.opened

    def answer(self, folder: Path, text: str = AFFINE, **options: str) -> list[float]:
        folder.mkdir()
        with self.opened(folder, text, N, **options) as session:
            return session({"x": np.arange(3, dtype=np.float32)[None]})["y"].ravel().tolist()


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The libraries that were linked."""
    made: list[Path] = []
    export = link.export

    def counted(executable: object, library: Path, command: object) -> None:
        made.append(library)
        export(executable, library, command)  # type: ignore[arg-type]

    monkeypatch.setattr(link, "export", counted)
    return made


class TestLibraries(Built):
    def test_the_same_program_is_compiled_once(self, tmp_path: Path, exports: list[Path]) -> None:
        assert self.answer(tmp_path / "a") == self.answer(tmp_path / "b") == [1, 3, 5]
        assert len(exports) == 1
        assert _library(tmp_path / "a") == _library(tmp_path / "b")

    def test_other_weights_take_the_same_library(self, tmp_path: Path, exports: list[Path]) -> None:
        weights = "(float[n,3] x) => (float[n,2] y) <float[3,2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"
        assert self.answer(tmp_path / "a", weights) == [13, 16]
        assert self.answer(tmp_path / "b", weights.replace("6}", "7}")) == [13, 18]
        assert len(exports) == 1

    @pytest.mark.parametrize("options", [{"mcpu": "x86-64"}, {"kernels": "plain"}, {"threads": "3"}], ids=str)
    def test_another_program_or_machine_does_not(
        self, tmp_path: Path, exports: list[Path], options: dict[str, str]
    ) -> None:
        matrix = "(float[n,3] x) => (float[n,2] y) <float[3,2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"
        self.answer(tmp_path / "a", matrix)
        self.answer(tmp_path / "b", matrix, **options)
        assert len(exports) == 2

    def test_it_can_be_left_alone(self, tmp_path: Path, exports: list[Path], place: Path) -> None:
        self.answer(tmp_path / "a", cache="no")
        self.answer(tmp_path / "b", cache="no")
        assert len(exports) == 2
        assert not place.exists()

    @pytest.mark.parametrize("content", [b"", b"not a library"])
    def test_what_is_broken_is_made_again(
        self, tmp_path: Path, exports: list[Path], place: Path, content: bytes
    ) -> None:
        self.answer(tmp_path / "a")
        (kept,) = place.glob("tvm/*/*.so")
        kept.write_bytes(content)
        assert self.answer(tmp_path / "b") == [1, 3, 5]
        assert len(exports) == 2
        assert kept.read_bytes() == _library(tmp_path / "b")

    def test_a_folder_that_others_can_write_to_is_not_trusted(
        self, tmp_path: Path, exports: list[Path], place: Path
    ) -> None:
        self.answer(tmp_path / "a")
        (folder,) = place.glob("tvm/*")
        folder.chmod(0o777)
        self.answer(tmp_path / "b")
        assert len(exports) == 2

    def test_without_a_cache_it_works_as_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(cache.ROOT, "off")
        assert self.answer(tmp_path / "a") == self.answer(tmp_path / "b")

    def test_a_full_disk_does_no_harm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        library = tmp_path / "model.so"
        library.write_bytes(b"code")
        monkeypatch.setattr(library_cache.shutil, "copyfile", full)
        library_cache.keep(library, tmp_path)
        assert list(tmp_path.glob("*.so")) == [library]


PROGRAM = """
import sys
import tvm
from tvm import relax

bb = relax.BlockBuilder()
x = relax.Var("x", relax.TensorType([2, 3], "float32"))
with bb.function("main", [x]):
    y = bb.emit(relax.op.nn.relu(x))
    z = bb.emit(relax.op.nn.softmax(relax.op.tanh(y)))
    bb.emit_func_output(relax.Tuple([y, z]))
module = relax.transform.LegalizeOps()(bb.get())
print(tvm.ir.save_json(module))
"""


def test_a_program_is_written_the_same_way_in_every_process() -> None:
    written = [
        subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert json.loads(written[0])
    assert written[0] == written[1]


def _library(folder: Path) -> bytes:
    return (folder / "out" / "model.so").read_bytes()
