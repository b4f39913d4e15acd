"""TVM: the contract, and its own options."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest
from contract import AFFINE, BackendContract, N

from backends.tvm import target
from compiler.errors import CompileError, UsageError


class TestTvm(BackendContract):
    target = "tvm"
    runtime = "tvm"
    mistyped_option = ("thread", "threads")
    refused_dtypes = frozenset({"bfloat16", "complex64", "complex128", "string"})
    known_failures: ClassVar[Mapping[str, str]] = {}

    @pytest.mark.parametrize(
        "options",
        [{"threads": "many"}, {"threads": "-1"}, {"bind": "perhaps"}, {"mcpu": "hasswell"}, {"kernels": "slow"}],
        ids=lambda options: "=".join(*options.items()),
    )
    def test_a_value_that_makes_no_sense_is_refused(self, folder: Path, options: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught, self.opened(folder, AFFINE, N, **options):
            raise AssertionError("not reached")
        assert caught.value.code == "bad-option"


class Built:
    """What the contract has for building from text, without its tests."""

    target = "tvm"
    folder = BackendContract.folder
    opened = BackendContract.opened


def test_the_list_of_operators_is_the_table() -> None:
    from backends.tvm.emit.table import table
    from backends.tvm.operators import EMITTED

    assert {*table(), "Constant"} == EMITTED


GATHER = "(int64[n] i) => (float[n,2] y) <float[3,2] w = {0, 1, 2, 3, 4, 5}> { y = Gather(w, i) }"


class TestIndices(Built):
    def test_negative_ones_count_from_the_back(self, folder: Path) -> None:
        with self.opened(folder, GATHER, N) as session:
            assert session({"i": np.array([-1, 0, -3])})["y"].tolist() == [[4, 5], [0, 1], [0, 1]]

    @pytest.mark.parametrize("index", [3, -4, 2**40])
    def test_one_that_is_out_of_range_is_refused_and_the_session_goes_on(self, folder: Path, index: int) -> None:
        with self.opened(folder, GATHER, N) as session:
            with pytest.raises(UsageError) as caught:
                session({"i": np.array([1, index])})
            assert (caught.value.code, str(index) in caught.value.message) == ("index-out-of-range", True)
            assert session({"i": np.array([1])})["y"].tolist() == [[2, 3]]

    @pytest.mark.parametrize("index", [5, -9, 2**40])
    def test_a_computed_one_never_leaves_the_table(self, folder: Path, index: int) -> None:
        text = GATHER.replace("y = Gather(w, i)", "j = Add(i, i)  y = Gather(w, j)")
        with self.opened(folder, text, N) as session:
            assert session({"i": np.array([index])})["y"].tolist() in ([[0, 1]], [[4, 5]])

    def test_the_range_may_be_a_dim(self, folder: Path) -> None:
        text = "(float[n,2] w, int64[2] i) => (float[2,2] y) { y = Gather(w, i) }"
        with self.opened(folder, text, N) as session:
            w = np.arange(4, dtype=np.float32).reshape(2, 2)
            assert session({"w": w, "i": np.array([1, -2])})["y"].tolist() == [[2, 3], [0, 1]]
            with pytest.raises(UsageError):
                session({"w": w, "i": np.array([2, 0])})


class TestLinking(Built):
    def test_a_bare_linker_is_enough(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "ld").symlink_to(shutil.which("ld") or "/usr/bin/ld")
        monkeypatch.setenv("PATH", str(bin_folder))
        with self.opened(folder, AFFINE, N) as session:
            assert (folder / "out" / "model.so").is_file()
            assert session({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[3] * 3]

    def test_without_a_linker_it_is_compiled_when_it_is_loaded(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(folder / "nothing"))
        with self.opened(folder, AFFINE, N) as session:
            assert not (folder / "out" / "model.so").exists()
            assert session({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[3] * 3]

    def test_a_linker_that_fails_is_an_error(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = folder / "bin" / "cc"
        broken.parent.mkdir()
        broken.write_text("#!/bin/sh\necho cannot link >&2\nexit 1\n")
        broken.chmod(0o755)
        monkeypatch.setenv("PATH", f"{broken.parent}:/usr/bin:/bin")
        with pytest.raises(CompileError) as caught, self.opened(folder, AFFINE, N):
            raise AssertionError("not reached")
        assert (caught.value.code, caught.value.why) == ("link-failed", "cannot link")


class TestCpus(Built):
    @pytest.mark.parametrize(
        ("mcpu", "lanes", "registers"),
        [("x86-64", 4, 16), ("haswell", 8, 16), ("skylake-avx512", 16, 32), ("znver4", 16, 32)],
    )
    def test_vectors_are_as_wide_as_the_cpus(self, mcpu: str, lanes: int, registers: int) -> None:
        machine = target.machine({"mcpu": mcpu})
        assert (machine.vector_lanes, machine.registers) == (lanes, registers)

    @pytest.mark.parametrize("mcpu", ["x86-64", "haswell"])
    def test_code_for_a_lesser_cpu_runs_here(self, folder: Path, mcpu: str) -> None:
        with self.opened(folder, AFFINE, N, mcpu=mcpu) as session:
            assert session({"x": np.ones((2, 3), np.float32)})["y"].tolist() == [[3] * 3] * 2

    def test_what_code_needs_is_told(self) -> None:
        assert target.needed_features(target.machine({"mcpu": "x86-64"})) == []
        assert {"avx2", "fma"} <= set(target.needed_features(target.machine({"mcpu": "haswell"})))
        assert "avx512f" not in target.needed_features(target.machine({"mcpu": "haswell"}))


class TestWeights(Built):
    def test_a_shared_weight_is_stored_once(self, folder: Path) -> None:
        values = ", ".join(str(number / 7) for number in range(4096))
        weight = f"<float[64,64] w = {{{values}}}>"
        text = f"(float[n,64] x) => (float[n,64] y) {weight} {{ a = MatMul(x, w)  y = MatMul(a, w) }}"
        with self.opened(folder, text, N) as session:
            x = np.eye(3, 64, dtype=np.float32)
            w = np.array([number / 7 for number in range(4096)], np.float32).reshape(64, 64)
            np.testing.assert_allclose(session({"x": x})["y"], x @ w @ w, rtol=1e-5)
        assert (folder / "out" / "weights.bin").stat().st_size <= 1.1 * w.nbytes

    def test_files_on_disk_do_not_change_through_a_session(self, folder: Path) -> None:
        text = "(float[2] x) => (float[2] y, float[2] c) <float[2] w = {1, 2}> { c = Identity(w)  y = Add(x, w) }"
        with self.opened(folder, text) as session:
            before = (folder / "out" / "weights.bin").read_bytes()
            session({"x": np.zeros(2, np.float32)})["c"][:] = 9
            assert session({"x": np.zeros(2, np.float32)})["y"].tolist() == [1, 2]
        assert (folder / "out" / "weights.bin").read_bytes() == before


def test_memory_is_stable_over_many_calls(tmp_path: Path) -> None:
    with Built().opened(tmp_path, AFFINE.replace("n,3", "n,4096").replace("float[n,3]", "float[n,4096]"), N) as session:
        process = psutil.Process()
        inputs = [np.ones((1 + number % 5, 4096), np.float32) for number in range(5)]
        for x in inputs * 20:
            session({"x": x})
        before = process.memory_info().rss
        for x in inputs * 200:
            session({"x": x})
        assert process.memory_info().rss - before < 4 * 2**20


PAGE = Path(__file__).resolve().parents[2] / "docs" / "backends" / "tvm.md"


def snippet(language: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"```{language}\n")[2].partition("```")[0]


class TestDeploying(Built):
    """What the page shows for hosts without plumbline is run as it stands there."""

    @pytest.fixture
    def bundle(self, folder: Path) -> Path:
        text = "(float[2,16] x) => (float[2,4] y) <float[4] w = {1, 2, 3, 4}, int64[1] a = {1}> "
        with self.opened(folder, text + "{ s = ReduceSum(x, a)  y = Mul(s, w) }"):
            return folder / "out"

    def test_in_python(self, bundle: Path) -> None:
        code = snippet("python").replace("build/mynet.tvm", str(bundle))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
        assert done.stdout.split("\n")[0] == "[[16. 32. 48. 64.]", done.stderr

    def test_the_host_says_how_many_threads(self, bundle: Path) -> None:
        """Left to itself, TVM takes half of the cores of an x86 machine."""
        code = snippet("python").replace("build/mynet.tvm", str(bundle))
        code += "print(tvm_ffi.get_global_func('runtime.NumThreads')())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
        assert done.stdout.split("\n")[-2] == str(os.cpu_count()), done.stderr

    @pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
    def test_in_c_plus_plus(self, bundle: Path, folder: Path) -> None:
        (folder / "host.cc").write_text(snippet("cpp"))
        specs = [importlib.util.find_spec(name) for name in ("tvm", "tvm_ffi")]
        tvm, ffi = (Path(spec.origin or "").parent for spec in specs if spec is not None)
        libraries = [f"-L{place}/lib" for place in (tvm, ffi)] + [f"-Wl,-rpath,{place}/lib" for place in (tvm, ffi)]
        command = ["g++", "-std=c++17", "host.cc", f"-I{ffi}/include", *libraries, "-Wl,--no-as-needed"]
        subprocess.run([*command, "-ltvm_ffi", "-ltvm_runtime", "-o", "host"], cwd=folder, check=True, timeout=200)
        done = subprocess.run([folder / "host", bundle], capture_output=True, text=True, timeout=60)
        assert done.stdout == "16 32 48 64\n", done.stderr
