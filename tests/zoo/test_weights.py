"""Nothing is stored twice, in whatever form a target stores it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from zoo import MODELS, ROOT, Zoo


class TestWeights(Zoo):
    @pytest.mark.parametrize("target", [*MODELS["gpt2"]["targets"], "onnx"])
    def test_a_head_that_is_the_embedding_is_stored_once(self, target: str, folder: Path) -> None:
        result = self.result("gpt2", target, folder)
        module = runpy.run_path(str(ROOT / "models" / "gpt2.py"))["small"]()[0]
        weights = sum(parameter.numel() * 4 for parameter in module.parameters())
        stored = sum((result.folder / name).stat().st_size for name in result.manifest["artifact"]["files"])
        assert stored <= 1.1 * weights + CODE[target]


# What a target's own code may take beside the weights.
CODE = {"onnxruntime": 200_000, "onnx": 200_000, "openvino": 400_000, "tensorrt": 3_000_000, "tvm": 1_500_000}
