"""The scripts that show a difference run, each with its own runtime and nothing of plumbline's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.diagnose.scripts import script

GRAPH = """
<ir_version: 10, opset_import: ["": 18]>
g (float[2,3] x, float[3] by) => (float[2,3] y, float[2,3] z) { t = Mul(x, by) y = Exp(t) z = Add(t, y) }
"""


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tvm", "onnx", "sound"])
@pytest.mark.usefixtures("third_party")
def test_a_script_prints_how_far_off_each_result_is(target: str, tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(GRAPH), tmp_path / "reduced.onnx")
    inputs = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "by": np.array([1, 2, 3], np.float32)}
    t = inputs["x"].astype(np.float64) * inputs["by"]
    np.savez(tmp_path / "inputs.npz", **inputs)
    np.savez(tmp_path / "expected.npz", y=np.exp(t), z=t + np.exp(t) + 1)
    made = script("runtime", target, ["reduced.onnx"])
    (tmp_path / "show.py").write_text(made.text)
    assert ("backends" in made.text) == (target == "sound")
    done = subprocess.run([sys.executable, "show.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    off = {name: float(error) for name, error in re.findall(r"^(\w): off by ([\d.e+-]+),", done.stdout, re.M)}
    assert off["y"] < 1e-5
    assert off["z"] == pytest.approx(1, rel=1e-5)
