"""OpenVINO: the contract, its options, and whole numbers."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import ml_dtypes
import numpy as np
import openvino
import pytest
import torch
from contract import AFFINE, BackendContract, N

import backends
import compiler
from compiler import bundle, cache
from compiler.contracts import Array, Dim
from compiler.errors import CompileError, UsageError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backends" / "openvino.md").read_text(encoding="utf-8")


def weights(seed: int) -> Array:
    return np.random.default_rng(seed).integers(-9, 9, (64, 64)).astype(np.float32)


def weighted(seed: int) -> str:
    numbers = ", ".join(str(int(number)) for number in weights(seed).ravel())
    return f"(float[n,64] x) => (float[n,64] y) <float[64,64] w = {{{numbers}}}> {{ y = MatMul(x, w) }}"


class TestOpenVino(BackendContract):
    target = "openvino"
    runtime = "openvino"
    mistyped_option = ("thread", "threads")
    refused_dtypes = frozenset({"float64", "complex64", "complex128", "string"})
    known_failures: ClassVar[Mapping[str, str]] = {
        "test_integers_beyond_32_bits_are_exact": "its CPU holds int64 in int32; such inputs are refused, see below",
    }

    # -- options ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "options",
        [
            {"threads": "many"},
            {"threads": "-1"},
            {"weights": "int8"},
            {"cache": "maybe"},
            {"NUM_STREAMS": "some"},
            {"PERFORMANCE_HINT": "FAST"},
            {"INFERENCE_PRECISION_HINT": "f64"},
        ],
        ids=lambda options: "=".join(*options.items()),
    )
    def test_a_value_that_makes_no_sense_is_refused(self, folder: Path, options: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught, self.opened(folder, AFFINE, N, **options):
            raise AssertionError("not reached")
        assert caught.value.code == "bad-option"

    @pytest.mark.parametrize(
        ("options", "what", "value"),
        [
            ({}, "precision", "f32"),
            ({}, "execution_mode", "ACCURACY"),
            ({}, "hint", "LATENCY"),
            ({"PERFORMANCE_HINT": "THROUGHPUT"}, "hint", "THROUGHPUT"),
            ({"NUM_STREAMS": "2", "threads": 2}, "streams", 2),
            ({"threads": "1"}, "threads", 1),
        ],
    )
    def test_an_option_reaches_the_runtime(
        self, folder: Path, options: dict[str, object], what: str, value: object
    ) -> None:
        with self.opened(folder, AFFINE, N, **options) as session:
            assert session.effective[what] == value

    def test_options_are_what_the_runtime_knows(self) -> None:
        settable = openvino.Core().get_property("CPU", "SUPPORTED_PROPERTIES")
        known = backends.get("openvino").options()
        assert {"threads", "NUM_STREAMS", "TBB_PARTITIONER"} <= set(known)
        assert all(settable[name] == "RW" for name in known if name.isupper())

    @pytest.mark.parametrize(("options", "size"), [({}, 4), ({"weights": "float16"}, 2)])
    def test_weights_are_float32_unless_asked(self, folder: Path, options: dict[str, str], size: int) -> None:
        numbers = ", ".join(str(number / 7) for number in range(4096))
        text = f"(float[n,64] x) => (float[n,64] y) <float[64,64] w = {{{numbers}}}> {{ y = MatMul(x, w) }}"
        with self.opened(folder, text, N, **options):
            pass
        assert abs((folder / "out" / "model.bin").stat().st_size - 4096 * size) < 256

    # -- the cache ----------------------------------------------------------------------------------------------

    def test_what_was_compiled_once_is_found_again(
        self, compiled: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(cache.ROOT, str(folder / "cache"))
        x = np.random.default_rng(0).standard_normal((3, 16), np.float32)
        answers = []
        options: tuple[dict[str, str], ...] = ({}, {"cache": "yes"}, {"cache": "yes"})
        for wanted, found in zip(options, (None, False, True), strict=True):
            with backends.load(compiled, options=wanted) as session:
                answers.append(session({"x": x})["output"].tobytes())
                assert session.effective.get("loaded_from_cache") is found
            assert bool(cache.entries()) == bool(wanted)
        assert len(set(answers)) == 1
        (entry,) = cache.entries()
        assert entry.kind == "openvino"

    def test_weights_that_changed_in_place_are_seen(
        self, compiled: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenVINO's own key covers them; ours names the graph alone."""
        monkeypatch.setenv(cache.ROOT, str(folder / "cache"))
        place = shutil.copytree(compiled, folder / "copy")
        x, file = np.ones((1, 16), np.float32), place / "model.bin"
        weights, answers = np.fromfile(file, np.float32), []
        for factor in (1, 2, 2):
            (weights * np.float32(factor)).tofile(file)
            with backends.get("openvino").open(bundle.read(place).artifact, place, {"cache": "yes"}) as session:
                answers.append((session.effective["loaded_from_cache"], session({"x": x})["output"].tolist()))
        assert [found for found, _ in answers] == [False, False, True]
        assert answers[0][1] != answers[1][1] == answers[2][1]

    def test_weights_are_not_kept_again(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(cache.ROOT, str(folder / "cache"))
        with self.opened(folder, weighted(1), N, cache="yes"):
            pass
        (entry,) = cache.entries()
        assert 0 < entry.size < (folder / "out" / "model.bin").stat().st_size

    def test_other_weights_and_properties_are_not_mistaken_for_the_same(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(cache.ROOT, str(folder / "cache"))
        x = np.ones((1, 64), np.float32)
        cases: list[tuple[int, dict[str, object]]] = [(1, {}), (2, {}), (1, {"threads": 1}), (2, {"NUM_STREAMS": "2"})]
        cases.append((1, {"INFERENCE_PRECISION_HINT": "f16"}))
        for seed, options in cases:
            with self.opened(folder, weighted(seed), N, cache="yes", **options) as session:
                assert session.effective["loaded_from_cache"] is False
                answer = session({"x": x})["y"]
            if "INFERENCE_PRECISION_HINT" not in options:
                np.testing.assert_allclose(answer, x @ weights(seed), rtol=1e-5)

    @pytest.mark.parametrize("left", [b"", b"no model", None], ids=["nothing", "something else", "a half"])
    def test_what_is_broken_in_the_cache_is_made_again(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, left: bytes | None
    ) -> None:
        monkeypatch.setenv(cache.ROOT, str(folder / "cache"))
        x = np.ones((1, 64), np.float32)
        for _ in range(2):
            with self.opened(folder, weighted(1), N, cache="yes") as session:
                assert session.effective["loaded_from_cache"] is False
                np.testing.assert_allclose(session({"x": x})["y"], x @ weights(1), rtol=1e-5)
            for file in (folder / "cache").rglob("*.blob"):
                content = file.read_bytes()
                file.chmod(0o600)
                file.write_bytes(content[: len(content) // 2] if left is None else left)

    def test_a_cache_that_is_turned_off_is_no_error(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(cache.ROOT, "off")
        with self.opened(folder, AFFINE, N, cache="yes") as session:
            assert session.effective["loaded_from_cache"] is False

    # -- with OpenVINO's own tools, as the page shows it ----------------------------------------------------------

    def test_it_runs_without_plumbline(self, compiled: Path, folder: Path) -> None:
        self.lay_out(compiled, folder)
        code = re.search(r"```python\n(.*?)```", PAGE, re.S)
        assert code is not None
        asked = (
            code[1] + "\nimport sys; assert not {'compiler', 'backends'} & sys.modules.keys(); print(output.tolist())"
        )
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=folder, timeout=120)
        assert done.returncode == 0, done.stderr
        with backends.load(compiled) as session:
            want = session({"x": np.ones((3, 16), np.float32)})["output"]
        np.testing.assert_array_equal(np.array(ast.literal_eval(done.stdout), np.float32), want)

    def test_benchmark_app_computes_in_what_the_file_says(self, compiled: Path, folder: Path) -> None:
        self.lay_out(compiled, folder)
        settings, command = (
            re.search(r"```json\n(.*?)```", PAGE, re.S),
            re.search(r"^    (benchmark_app .*)", PAGE, re.M),
        )
        assert settings is not None and command is not None
        (folder / "cpu.json").write_text(settings[1])
        program = str(Path(sys.executable).with_name("benchmark_app"))
        words = [program, *shlex.split(command[1])[1:], "-niter", "2"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=120)
        assert done.returncode == 0, done.stdout
        assert "EXECUTION_MODE_HINT: ExecutionMode.ACCURACY" in done.stdout
        assert "INFERENCE_PRECISION_HINT: <Type: 'float32'>" in done.stdout

    def lay_out(self, compiled: Path, folder: Path) -> None:
        shutil.copytree(compiled, folder / "build" / "mynet.openvino")

    # -- whole numbers ------------------------------------------------------------------------------------------

    def test_an_input_beyond_what_is_proven_is_refused(self, folder: Path) -> None:
        with self.opened(folder, "(int64[2] x) => (int64[2] y) { y = Mul(x, x) }") as session:
            assert session({"x": np.array([30000, -5])})["y"].tolist() == [900000000, 25]
            for large in (2**31, -(2**31) - 1, 2**16):
                with pytest.raises(UsageError) as caught:
                    session({"x": np.array([1, large])})
                assert caught.value.code == "integer-too-large"
                assert str(large) in caught.value.message
            assert session({"x": np.array([3, 4])})["y"].tolist() == [9, 16]

    def test_indices_may_be_as_large_as_int32(self, folder: Path) -> None:
        text = "(float[7] table, int64[n] i) => (float[n] y) { y = Gather(table, i) }"
        with self.opened(folder, text, N) as session:
            table = np.arange(7, dtype=np.float32)
            assert session({"table": table, "i": np.array([6, -7])})["y"].tolist() == [6, 0]

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("(int64[2] x) => (int64[2] y) <int64 big = {1099511627776}> { y = Add(x, big) }", "int64 in int32"),
            ("(int64[2] x) => (bool[2] y) <int64 odd = {16777217}> { y = Equal(x, odd) }", "Equal in float32"),
            ("(uint32[2] x) => (uint32[2] y) <uint32 one = {1}> { y = Sub(x, one) }", "uint32 in int32"),
        ],
    )
    def test_what_cannot_be_proven_is_refused_with_its_node(self, folder: Path, text: str, why: str) -> None:
        with pytest.raises(CompileError) as caught, self.opened(folder, text):
            raise AssertionError("not reached")
        assert caught.value.code == "unsupported-op"
        assert why in str(caught.value.why)
        assert caught.value.where

    def test_a_float_that_becomes_an_integer_is_watched(self, folder: Path) -> None:
        text = "(float[n,3] x) => (int64[n,3] y) <float k = {10}> { t = Mul(x, k)  y = Cast<to = 7>(t) }"
        with self.opened(folder, text, Dim("n", 0, 4)) as session:
            assert session({"x": np.full((1, 3), 2.55, np.float32)})["y"].tolist() == [[25] * 3]
            with pytest.raises(UsageError) as caught:
                session({"x": np.full((2, 3), -1e12, np.float32)})
            assert caught.value.code == "integer-too-large"
            assert session({"x": np.zeros((0, 3), np.float32)})["y"].shape == (0, 3)
            assert list(session({"x": np.ones((1, 3), np.float32)})) == ["y"]

    def test_numbers_that_end_a_slice_may_be_anything(self, folder: Path) -> None:
        text = "(float[n,3] x) => (float[m,3] y) <int64[1] one = {1}, int64[1] end = {9223372036854775807}, "
        text += "int64[1] axis = {0}> { y = Slice(x, one, end, axis) }"
        with self.opened(folder, text, N) as session:
            assert session({"x": np.ones((4, 3), np.float32)})["y"].shape == (3, 3)

    # -- the rest -----------------------------------------------------------------------------------------------

    def test_bfloat16_goes_in_and_out(self, folder: Path) -> None:
        x = np.array([1.0078125, -3, 256, 0.333984375], ml_dtypes.bfloat16)
        with self.opened(folder, "(bfloat16[4] x) => (bfloat16[4] y) { y = Add(x, x) }") as session:
            y = session({"x": x})["y"]
        assert y.dtype == x.dtype
        assert y.tolist() == (x + x).tolist()

    def test_an_output_may_be_an_input_or_a_constant(self, folder: Path) -> None:
        text = "(float[2] x) => (float[2] a, float[2] b, float[2] c, float[2] d) <float[2] w = {1, 2}> "
        text += "{ a = Identity(x)  b = Identity(w)  c = Add(x, w)  d = Identity(c) }"
        with self.opened(folder, text) as session:
            outputs = session({"x": np.array([5, 6], np.float32)})
        assert {name: array.tolist() for name, array in outputs.items()} == {
            "a": [5, 6],
            "b": [1, 2],
            "c": [6, 8],
            "d": [6, 8],
        }

    def test_an_operator_that_its_frontend_lacks_is_told_with_its_node(self, folder: Path) -> None:
        text = "(float[2,2] x) => (float y) { y = Det(x) }"
        with pytest.raises(CompileError) as caught, self.opened(folder, text):
            raise AssertionError("not reached")
        assert caught.value.code == "unsupported-op"
        assert "Det" in str(caught.value.why)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (
                '(float[1,1,4,4] x) => (float[1,1,a,b] y) <int64[2] sizes = {8, 6}> { y = Resize<mode = "nearest", '
                'axes = [2, 3], keep_aspect_ratio_policy = "not_larger">(x, , , sizes) }',
                "aspect",
            ),
            (
                "(float[1,1,8,8] x, float[1,4] r, int64[1] b) => (float[1,1,2,2] y) "
                '{ y = RoiAlign<mode = "max", output_height = 2, output_width = 2>(x, r, b) }',
                "largest",
            ),
            ("(float[2,n,1] x) => (float[2,m,2] y) { y = DFT<onesided = 1>(x) }", "one-sided"),
            (
                '(float[n,8] x, float[2] s) => (float[n,m] y) { y = Resize<mode = "linear", antialias = 1>(x, , s) }',
                "Resize smooths",
            ),
            ("(float[2,3,4,2] x, int64 axis) => (float[2,3,4,2] y) { y = DFT(x, , axis) }", "run time"),
        ],
    )
    def test_a_form_that_it_computes_wrongly_is_refused(self, folder: Path, text: str, why: str) -> None:
        with pytest.raises(CompileError) as caught, self.opened(folder, text):
            raise AssertionError("not reached")
        assert (caught.value.code, why in str(caught.value.why)) == ("unsupported-op", True)

    # -- what passes of its own mend; the faults themselves stand in test_openvino_faults.py ---------------------

    def test_a_transform_of_any_length_is_as_good_as_torchs(self, folder: Path) -> None:
        x = np.random.default_rng(0).standard_normal((2, 1000, 1)).astype(np.float32)
        with self.opened(folder, "(float[2,1000,1] x) => (float[2,501,2] y) { y = DFT<onesided = 1>(x) }") as session:
            y = session({"x": x})["y"]
        want = np.fft.rfft(x[..., 0].astype(np.float64))
        assert np.abs(y[..., 0] + 1j * y[..., 1] - want).max() < 1e-4

    def test_remainders_are_exact(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(999).astype(np.float32) * np.float32(size) for size in (1e6, 1))
        text = "(float[n] a, float[n] b) => (float[n] y, float[n] z) { y = Mod<fmod = 1>(a, b)  z = Mod(a, b) }"
        with self.opened(folder, text, Dim("n", 1, 999)) as session:
            results = session({"a": a, "b": b})
        np.testing.assert_array_equal(results["y"], np.fmod(a, b))
        np.testing.assert_array_equal(results["z"], np.mod(a, b))

    @pytest.mark.parametrize("told", ["<int64[2] s = {5, 4}>", ""])
    def test_a_resize_that_smooths_weighs_as_torch_does(self, folder: Path, told: str) -> None:
        x = np.random.default_rng(0).standard_normal((2, 3, 13, 9)).astype(np.float32)
        text = f"(float[2,3,13,9] x{'' if told else ', int64[2] s'}) => (float[2,3,5,4] y) {told} "
        text += '{ y = Resize<mode = "linear", antialias = 1, exclude_outside = 1, axes = [2, 3]>(x, , , s) }'
        with self.opened(folder, text) as session:
            y = session({"x": x} if told else {"x": x, "s": np.array([5, 4])})["y"]
        want = torch.nn.functional.interpolate(torch.from_numpy(x), (5, 4), mode="bilinear", antialias=True)
        np.testing.assert_allclose(y, want.numpy(), atol=1e-5)

    def test_small_integers_wrap_around(self, folder: Path) -> None:
        with self.opened(folder, "(int8[n] x, int8[n] z) => (int8[n] y) { y = Add(x, z) }", Dim("n", 1, 9)) as session:
            x, z = np.array([127, -128, 100, 5], np.int8), np.array([1, -1, 100, -7], np.int8)
            assert session({"x": x, "z": z})["y"].tolist() == (x + z).tolist()

    def test_axes_may_be_inputs(self, folder: Path) -> None:
        text = "(float[2,3] x, int64[2] a) => (float[p,q,r,s] y) { y = Unsqueeze(x, a) }"
        with self.opened(folder, text) as session:
            x = np.arange(6, dtype=np.float32).reshape(2, 3)
            for axes in ([0, 2], [-1, 1]):
                want = np.expand_dims(x, tuple(axes))
                np.testing.assert_array_equal(session({"x": x, "a": np.array(axes)})["y"], want)

    def test_an_output_may_hold_nothing(self, folder: Path) -> None:
        text = "(float[2] x) => (float[2] z, float[1,0,3] y) <float[1,0,3] y = {}> { z = Neg(x) }"
        with self.opened(folder, text) as session:
            assert session({"x": np.ones(2, np.float32)})["y"].shape == (1, 0, 3)

    def test_a_batch_may_come_first_in_a_gru(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        shapes = {"x": (3, 4, 2), "w": (1, 6, 2), "r": (1, 6, 2)}
        given = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        answers = []
        for layout, x in (("1", "3,4,2"), ("0", "4,3,2")):
            result = "3,4,1,2" if layout == "1" else "4,1,3,2"
            text = f"(float[{x}] x, float[1,6,2] w, float[1,6,2] r) => (float[{result}] y) "
            text += f"{{ y = GRU<hidden_size = 2, layout = {layout}>(x, w, r) }}"
            place = folder / layout
            place.mkdir()
            turned = given["x"] if layout == "1" else given["x"].transpose(1, 0, 2)
            with self.opened(place, text) as session:
                answers.append(session({**given, "x": np.ascontiguousarray(turned)})["y"])
        np.testing.assert_allclose(answers[0], answers[1].transpose(2, 0, 1, 3), atol=1e-6)

    def test_attention_is_right_after_it_ran_with_one_key(self, folder: Path) -> None:
        """What its own operator does then stands in test_openvino_faults.py."""
        model = folder / "attention.py"
        model.write_text(
            "import torch\n"
            "class Net(torch.nn.Module):\n"
            "    def forward(self, x, y):\n"
            "        return torch.nn.functional.scaled_dot_product_attention(x, y, y)\n"
            "def build():\n"
            "    return Net()\n"
        )
        specs = ["x:float32[1,4,64,16]", "y:float32[1,4,keys=1..32,16]"]
        result = compiler.compile(f"{model}:build", specs, target="openvino", output=folder / "build")
        assert result.passed
        assert "ScaledDotProductAttention" not in (result.folder / "model.xml").read_text()
