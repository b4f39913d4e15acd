"""ONNX Runtime: the contract, and its own options."""

from __future__ import annotations

from pathlib import Path

import onnx.parser
import onnxruntime
import pytest
from contract import AFFINE, BackendContract, N

from backends.onnxruntime.options import session_options
from compiler.errors import CompileError, UnavailableError, UsageError


class TestOnnxRuntime(BackendContract):
    target = "onnxruntime"
    runtime = "onnxruntime"
    mistyped_option = ("thread", "threads")
    refused_dtypes = frozenset({"bfloat16", "complex64", "complex128"})

    @pytest.mark.parametrize(
        "options",
        [
            {"threads": "many"},
            {"threads": "-1"},
            {"inter_op_threads": "1.5"},
            {"graph_optimization_level": "extra"},
            {"arena": "perhaps"},
            {"spinning": "2"},
            {"prepacking": "no"},
        ],
        ids=lambda options: "=".join(*options.items()),
    )
    def test_a_value_that_makes_no_sense_is_refused(self, folder: Path, options: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught, self.opened(folder, AFFINE, N, **options):
            raise AssertionError("not reached")
        assert caught.value.code == "bad-option"

    @pytest.mark.parametrize(
        ("options", "setting", "value"),
        [
            ({"threads": "1"}, "intra_op_num_threads", 1),
            ({"threads": 2}, "intra_op_num_threads", 2),
            ({"inter_op_threads": "2"}, "inter_op_num_threads", 2),
            ({"graph_optimization_level": "disabled"}, "graph_optimization_level", "ORT_DISABLE_ALL"),
            ({"graph_optimization_level": "extended"}, "graph_optimization_level", "ORT_ENABLE_EXTENDED"),
            ({"arena": "false"}, "enable_cpu_mem_arena", False),
            ({}, "graph_optimization_level", "ORT_ENABLE_ALL"),
            ({}, "enable_cpu_mem_arena", True),
        ],
    )
    def test_an_option_reaches_the_runtime(
        self, folder: Path, options: dict[str, object], setting: str, value: object
    ) -> None:
        with self.opened(folder, AFFINE, N, **options) as session:
            made = session._session._session.get_session_options()  # type: ignore[attr-defined]
        have = getattr(made, setting)
        assert getattr(have, "name", have) == value

    @pytest.mark.parametrize(
        ("options", "kept"), [({}, True), ({"left_out": "none"}, False), ({"left_out": "SkipLayerNormFusion"}, True)]
    )
    def test_a_layer_norm_is_not_merged_with_the_addition_before(
        self, folder: Path, options: dict[str, str], kept: bool
    ) -> None:
        """The merged kernel is slower on the CPU. ONNX Runtime takes any name for what is left out in silence."""
        text = """<ir_version: 10, opset_import: ["" : 20]> g (float[n,3,8] x, float[n,3,8] z) => (float[n,3,8] y)
            <float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[8] b = {1, 2, 3, 4, 5, 6, 7, 8}>
            { s = Add(x, z)  y = LayerNormalization(s, w, b) }"""
        made, seen = session_options(options), folder / "seen.onnx"
        made.optimized_model_filepath = str(seen)
        onnxruntime.InferenceSession(onnx.parser.parse_model(text).SerializeToString(), made)
        operators = [node.op_type for node in onnx.load(seen).graph.node]
        assert operators == (["Add", "LayerNormalization"] if kept else ["SkipLayerNormalization"])

    def test_a_provider_that_is_not_there_is_told(self, folder: Path) -> None:
        with (
            pytest.raises(UnavailableError) as caught,
            self.opened(folder, AFFINE, N, providers="CUDAExecutionProvider"),
        ):
            raise AssertionError("not reached")
        assert caught.value.code == "provider-missing"
        assert "onnxruntime-gpu" in str(caught.value.hint)

    def test_a_graph_that_the_runtime_refuses_is_told(self, folder: Path) -> None:
        text = "(float[2] x) => (float[2] y) { y = Softmax<axis = 7>(x) }"
        with pytest.raises(CompileError) as caught, self.opened(folder, text):
            raise AssertionError("not reached")
        assert caught.value.code == "runtime-refused"
        assert "axis" in str(caught.value.why)
