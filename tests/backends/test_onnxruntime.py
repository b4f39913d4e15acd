"""ONNX Runtime: the contract, and its own options."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import AFFINE, BackendContract, N

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
