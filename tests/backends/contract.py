"""What every backend promises: one suite, run for each of them.

A backend's own file derives from `BackendContract`. What its runtime is known not to do stands in `known_failures`
with the reason, under the test's name; one that passes all the same fails the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx.parser
import onnx_ir as ir
import psutil
import pytest

import backends
import compiler
from backends.checked import CheckedSession
from compiler.contracts import DTYPES, Dim, Ready, Unavailable
from compiler.errors import CompileError, UsageError
from compiler.frontend.examples import numpy_dtype
from compiler.graph_files import GRAPH
from compiler.ir.store import save
from compiler.ir.verify import signature_of
from compiler.passes.infer_shapes import InferShapes
from compiler.passes.legalize import Legalize
from compiler.passes.pipeline import run_passes

HEADER = '<ir_version: 10, opset_import: ["" : 21]> g '
AFFINE = "(float[n,3] x) => (float[n,3] y) <float two = {2}, float one = {1}> { t = Mul(x, two)  y = Add(t, one) }"
N = Dim("n", 1, 5)

# In onnx's text syntax.
WORDS = {"float32": "float", "float64": "double"}


class BackendContract:
    target: ClassVar[str]
    runtime: ClassVar[str]  # the package without which nothing works
    mistyped_option: ClassVar[tuple[str, str] | None]  # a typo, and the option that was meant
    known_failures: ClassVar[Mapping[str, str]] = {}
    refused_dtypes: ClassVar[frozenset[str]] = frozenset()  # refused by name before the build; all others are exact

    @pytest.fixture(autouse=True)
    def _known_failure(self, request: pytest.FixtureRequest) -> None:
        reason = self.known_failures.get(request.node.name)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    @contextmanager
    def opened(self, folder: Path, text: str, *dims: Dim, **options: Any) -> Iterator[CheckedSession]:
        """Lower a graph as the driver does, build it and open it, as `load` would."""
        backend, out = backends.get(self.target), folder / "out"
        model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
        signature = signature_of(model, {dim.name: dim for dim in dims})
        passes = [("infer-shapes", InferShapes()), ("legalize", Legalize(backend.legality, self.target))]
        run_passes(model, passes + [(type(step).__name__, step) for step in backend.passes()])
        save(model, folder / GRAPH)
        out.mkdir(exist_ok=True)
        artifact = backend.build(folder / GRAPH, signature, options, out)
        assert all((out / name).is_file() for name in artifact.files)
        with CheckedSession(backend.open(artifact, out, options), signature) as session:
            yield session

    @pytest.fixture(scope="class")
    @classmethod
    def compiled(cls, mlp_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A verified bundle; never change it in place."""
        out = tmp_path_factory.mktemp(cls.target)
        result = compiler.compile(f"{mlp_file}:build", ["x:float32[n=1..4,16]"], target=cls.target, output=out)
        assert result.passed
        return result.folder

    @contextmanager
    def exact_or_refused(self, dtype: str) -> Iterator[None]:
        """What a runtime would compute in another type is refused by name, so that nobody gets a rounded number."""
        if dtype not in self.refused_dtypes:
            yield
            return
        with pytest.raises(CompileError) as caught:
            yield
        assert (caught.value.code, dtype in str(caught.value.why)) == ("unsupported-op", True)

    def take_away(self, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it look as if the runtime were not installed."""
        monkeypatch.setitem(sys.modules, runtime, None)

    # -- data in and out ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_takes_and_gives(self, folder: Path, dtype: str) -> None:
        word = WORDS.get(dtype, dtype)
        data = np.array(["a", "b"]) if dtype == "string" else np.array([0, 1]).astype(numpy_dtype(dtype))
        text = f"({word}[2] x) => ({word}[4] y) {{ y = Concat<axis = 0>(x, x) }}"
        with self.exact_or_refused(dtype), self.opened(folder, text) as session:
            y = session({"x": data})["y"]
            assert y.dtype == data.dtype or (dtype == "string" and y.dtype == object)
            assert y.tolist() == data.tolist() * 2

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
    def test_computes_in(self, folder: Path, dtype: str) -> None:
        word = WORDS.get(dtype, dtype)
        text = f"({word}[3] x) => ({word}[3] y) {{ y = Mul(x, x) }}"
        with self.exact_or_refused(dtype), self.opened(folder, text) as session:
            y = session({"x": np.array([-2, 0, 3], dtype)})["y"]
            assert y.dtype == dtype
            assert y.tolist() == [4, 0, 9]

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_its_precision_is_the_types_own(self, folder: Path, dtype: str) -> None:
        """One unit in the last place is kept, which no narrower type has."""
        word = WORDS.get(dtype, dtype)
        one = np.ones(1, dtype)
        x = np.array([np.nextafter(one, 2 * one)[0], 1], dtype)
        text = f"({word}[2] x) => ({word}[2] y) {{ z = Mul(x, x)  t = Sqrt(z)  y = Max(t, x) }}"
        with self.exact_or_refused(dtype), self.opened(folder, text) as session:
            assert session({"x": x})["y"].tolist() == x.tolist()

    def test_integers_beyond_32_bits_are_exact(self, folder: Path) -> None:
        x = np.array([2**53 + 1, -(2**62) - 1], np.int64)
        with self.opened(folder, "(int64[2] x) => (int64[2] y) <int64 one = {1}> { y = Add(x, one) }") as session:
            assert session({"x": x})["y"].tolist() == [2**53 + 2, -(2**62)]

    def test_small_integers_wrap_around(self, folder: Path) -> None:
        text = "(int32[2] x) => (int32[2] y) <int32 one = {1}> { y = Add(x, one) }"
        with self.exact_or_refused("int32"), self.opened(folder, text) as session:
            assert session({"x": np.array([2**31 - 1, -1], np.int32)})["y"].tolist() == [-(2**31), 0]

    def test_special_values_pass_through(self, folder: Path) -> None:
        x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
        with self.opened(folder, "(float[5] x) => (float[5] y) <float one = {1}> { y = Mul(x, one) }") as session:
            y = session({"x": x})["y"]
        np.testing.assert_array_equal(y, x)
        assert np.signbit(y[3])

    def test_a_number_without_axes(self, folder: Path) -> None:
        with self.opened(folder, "(float x) => (float y) { y = Mul(x, x) }") as session:
            y = session({"x": np.array(3, np.float32)})["y"]
        assert (y.shape, float(y)) == ((), 9)

    def test_no_elements_at_all(self, folder: Path) -> None:
        text = "(float[n,3] x) => (float[n,3] y, float[3] total) <int64[1] axis = {0}> {"
        text += " y = Relu(x)  total = ReduceSum<keepdims = 0>(x, axis) }"
        with self.opened(folder, text, Dim("n", 0, 4)) as session:
            outputs = session({"x": np.zeros((0, 3), np.float32)})
        assert outputs["y"].shape == (0, 3)
        assert outputs["total"].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("size", [1, 3, 5])
    def test_a_dynamic_dim_over_its_whole_range(self, folder: Path, size: int) -> None:
        x = np.arange(3 * size, dtype=np.float32).reshape(size, 3)
        with self.opened(folder, AFFINE, N) as session:
            np.testing.assert_array_equal(session({"x": x})["y"], 2 * x + 1)

    def test_sizes_change_from_call_to_call(self, folder: Path) -> None:
        with self.opened(folder, AFFINE, N) as session:
            for size in (5, 1, 4, 1, 5):
                x = np.full((size, 3), size, np.float32)
                np.testing.assert_array_equal(session({"x": x})["y"], 2 * x + 1)

    def test_several_inputs_and_outputs_keep_their_names(self, folder: Path) -> None:
        text = "(float[2] a, float[2] b) => (float[2] sum, float[2] difference, float[2] product) {"
        text += " sum = Add(a, b)  difference = Sub(a, b)  product = Mul(a, b) }"
        with self.opened(folder, text) as session:
            outputs = session({"b": np.array([1, 2], np.float32), "a": np.array([5, 7], np.float32)})
        assert {name: array.tolist() for name, array in outputs.items()} == {
            "sum": [6, 9],
            "difference": [4, 5],
            "product": [5, 14],
        }
        assert list(outputs) == [spec.name for spec in session.signature.outputs]

    def test_a_branch_that_depends_on_data(self, folder: Path) -> None:
        text = """(float[2] x, bool flag) => (float[2] y) {
            y = If(flag) <then_branch = a () => (float[2] p) { p = Neg(x) },
                          else_branch = b () => (float[2] q) { q = Abs(x) }>
        }"""
        with self.opened(folder, text) as session:
            for flag, want in ((True, [1, -2]), (False, [1, 2])):
                assert session({"x": np.array([-1, 2], np.float32), "flag": np.array(flag)})["y"].tolist() == want

    # -- how arrays lie in memory -------------------------------------------------------------------------------

    @pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "broadcast", "swapped bytes", "read-only"])
    def test_any_layout_of_an_input_is_read_right(self, folder: Path, layout: str) -> None:
        base = np.arange(24, dtype=np.float32).reshape(4, 6)
        x = {
            "transposed": base[:3, :4].T,
            "strided": base[:, ::2],
            "reversed": base[::-1, 2::-1],
            "broadcast": np.broadcast_to(base[0, :3], (4, 3)),
            "swapped bytes": base[:, :3].astype(">f4"),
            "read-only": base[:, :3].copy(),
        }[layout]
        if layout == "read-only":
            x.flags.writeable = False
        before = x.copy()
        with self.opened(folder, AFFINE, N) as session:
            np.testing.assert_array_equal(session({"x": x})["y"], 2 * before + 1)
        np.testing.assert_array_equal(x, before)

    def test_results_of_different_calls_share_nothing(self, folder: Path) -> None:
        x = np.ones((2, 3), np.float32)
        with self.opened(folder, AFFINE, N) as session:
            first = session({"x": x})["y"]
            second = session({"x": 10 * x})["y"]
            assert not np.shares_memory(first, second)
            assert first.tolist() == [[3] * 3] * 2
            first[:] = -1
            assert session({"x": x})["y"].tolist() == [[3] * 3] * 2
        assert second.tolist() == [[21] * 3] * 2  # also after the session is closed

    def test_results_share_nothing_with_the_inputs_or_each_other(self, folder: Path) -> None:
        x = np.ones(4, np.float32)
        text = "(float[4] x) => (float[4] y, float[4] z) { y = Identity(x)  z = Identity(x) }"
        with self.opened(folder, text) as session:
            outputs = session({"x": x})
        assert not np.shares_memory(outputs["y"], x)
        assert not np.shares_memory(outputs["y"], outputs["z"])
        outputs["y"][:] = 7
        assert (x.tolist(), outputs["z"].tolist()) == ([1] * 4, [1] * 4)

    @pytest.mark.parametrize("output", ["w", "c"])
    def test_a_constant_output_is_nobodys_to_change(self, folder: Path, output: str) -> None:
        text = f"(float[2] x) => (float[2] y, float[2] {output}) <float[2] w = {{1, 2}}> "
        text += "{ c = Identity(w)  y = Add(x, c) }"
        with self.opened(folder, text) as session:
            x = {"x": np.zeros(2, np.float32)}
            session(x)[output][:] = 100
            assert session(x)["y"].tolist() == [1, 2]
            assert session(x)[output].tolist() == [1, 2]

    # -- many calls ---------------------------------------------------------------------------------------------

    def test_the_same_call_gives_the_same_bits(self, compiled: Path) -> None:
        x = np.random.default_rng(0).standard_normal((4, 16), np.float32)
        with backends.load(compiled) as session:
            answers = {session({"x": x})["output"].tobytes() for _ in range(5)}
        assert len(answers) == 1

    def test_calls_from_several_threads_do_not_mix(self, folder: Path) -> None:
        with self.opened(folder, AFFINE, N) as session, ThreadPoolExecutor(4) as pool:
            inputs = [np.full((1 + number % 5, 3), number, np.float32) for number in range(40)]
            outputs = list(pool.map(lambda x: session({"x": x})["y"], inputs))
        for x, y in zip(inputs, outputs, strict=True):
            np.testing.assert_array_equal(y, 2 * x + 1)

    def test_two_sessions_of_one_bundle_live_side_by_side(self, compiled: Path) -> None:
        x = {"x": np.ones((2, 16), np.float32)}
        with backends.load(compiled) as one:
            with backends.load(compiled) as other:
                np.testing.assert_array_equal(one(x)["output"], other(x)["output"])
            assert one(x)["output"].shape == (2, 4)

    def test_an_artifact_in_anothers_place_is_not_mistaken_for_it(self, folder: Path) -> None:
        for operator, want in (("Neg", [1, -2]), ("Abs", [1, 2])):
            shutil.rmtree(folder / "out", ignore_errors=True)
            with self.opened(folder, f"(float[2] x) => (float[2] y) {{ y = {operator}(x) }}") as session:
                assert session({"x": np.array([-1, 2], np.float32)})["y"].tolist() == want

    def test_memory_does_not_grow_with_the_calls(self, folder: Path) -> None:
        process = psutil.Process()
        inputs = [np.ones((size, 4096), np.float32) for size in (5, 1, 3)]
        text = "(float[n,4096] x) => (float[n,4096] y, float[n,4096] z) { y = Exp(x)  z = Neg(y) }"
        with self.opened(folder, text, N) as session:
            for call in range(300):
                session({"x": inputs[call % 3]})
            before = process.memory_info().rss
            for call in range(1000):
                session({"x": inputs[call % 3]})
            grown = process.memory_info().rss - before
        assert grown < 8 * 2**20, f"{grown / 2**20:.1f} MiB in 1000 calls; one call returns up to 0.16 MiB"

    # -- what is refused ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "inputs",
        [
            {},
            {"x": np.zeros((2, 3), np.float32), "extra": np.zeros(1)},
            {"X": np.zeros((2, 3), np.float32)},
            {"x": np.zeros((2, 3), np.float64)},
            {"x": np.zeros((2, 3), np.int64)},
            {"x": np.zeros((2, 4), np.float32)},
            {"x": np.zeros((6, 3), np.float32)},
            {"x": np.zeros((0, 3), np.float32)},
            {"x": np.zeros(3, np.float32)},
            {"x": [[1.0, 2.0, 3.0]]},
        ],
        ids=["none", "extra", "misspelt", "float64", "int64", "width", "above range", "below range", "rank", "list"],
    )
    def test_wrong_inputs_are_refused_and_the_session_goes_on(self, folder: Path, inputs: dict[str, Any]) -> None:
        with self.opened(folder, AFFINE, N) as session:
            with pytest.raises(UsageError) as caught:
                session(inputs)
            assert caught.value.code == "input-mismatch"
            assert session({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[3] * 3]

    def test_one_dim_has_one_size_in_all_inputs(self, folder: Path) -> None:
        text = "(float[n,3] x, float[n,1] z) => (float[n,3] y) { y = Add(x, z) }"
        with self.opened(folder, text, N) as session, pytest.raises(UsageError):
            session({"x": np.zeros((2, 3), np.float32), "z": np.zeros((1, 1), np.float32)})

    def test_a_mistyped_option_gets_a_suggestion(self, folder: Path) -> None:
        if self.mistyped_option is None:
            typo, hint = "thread", None
        else:
            typo, hint = self.mistyped_option[0], f"did you mean '{self.mistyped_option[1]}'?"
        with pytest.raises(UsageError) as caught, self.opened(folder, AFFINE, N, **{typo: 1}):
            raise AssertionError("not reached")
        assert (caught.value.code, caught.value.hint) == ("unknown-option", hint)

    @pytest.mark.parametrize("index", [4, -5, 2**30, -(2**30)])
    def test_an_index_out_of_range_does_no_harm(self, folder: Path, index: int) -> None:
        """It is refused or gives some number, but it neither crashes nor spoils the next call."""
        text = "(float[4,2] table, int64[n] index) => (float[n,2] y) { y = Gather<axis = 0>(table, index) }"
        table = np.arange(8, dtype=np.float32).reshape(4, 2)
        with self.opened(folder, text, N) as session:
            with suppress(Exception):
                session({"table": table, "index": np.array([0, index], np.int64)})
            y = session({"table": table, "index": np.array([3, -1, 0], np.int64)})["y"]
        assert y.tolist() == [[6, 7], [6, 7], [0, 1]]

    # -- where it runs ------------------------------------------------------------------------------------------

    def test_it_says_what_it_runs_at(self, compiled: Path) -> None:
        with backends.load(compiled) as session:
            assert "precision" in session.effective

    def test_threads_are_honoured(self, compiled: Path) -> None:
        x = np.ones((2, 16), np.float32)
        cores = len(os.sched_getaffinity(0))
        with backends.load(compiled, threads=1) as one, backends.load(compiled, threads=cores) as all_of_them:
            assert one.effective["threads"] == 1
            assert all_of_them.effective["threads"] == cores
            assert np.allclose(one({"x": x})["output"], all_of_them({"x": x})["output"])

    def test_a_bundle_runs_elsewhere_in_a_process_without_torch(self, compiled: Path, folder: Path) -> None:
        moved = shutil.copytree(compiled, folder / "moved" / "artifact")
        x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)
        np.save(folder / "x.npy", x)
        code = "import sys, numpy, backends\n"
        code += "with backends.load(sys.argv[1]) as session: y = session({'x': numpy.load(sys.argv[2])})['output']\n"
        code += "numpy.save(sys.argv[3], y)\nassert 'torch' not in sys.modules"
        paths = [str(moved), str(folder / "x.npy"), str(folder / "y.npy")]
        done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        with backends.load(compiled) as session:
            np.testing.assert_array_equal(np.load(folder / "y.npy"), session({"x": x})["output"])

    def test_the_probe_is_ready_here(self) -> None:
        state = backends.get(self.target).probe()
        assert isinstance(state, Ready)
        assert state.version
        assert "float32" in state.precisions

    def test_the_probe_never_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.take_away(self.runtime, monkeypatch)
        state = backends.get(self.target).probe()
        assert isinstance(state, Unavailable)
        assert self.runtime in state.reason
        assert "pip install" in state.remedy

    def test_known_failures_name_tests_that_exist(self) -> None:
        assert [name for name in self.known_failures if not hasattr(self, name.partition("[")[0])] == []
