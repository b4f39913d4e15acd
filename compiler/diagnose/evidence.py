"""The folder that shows a difference without plumbline."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from compiler.contracts import Arrays, dtype_name
from compiler.diagnose import scripts
from compiler.diagnose.diagnosis import Diagnosis
from compiler.diagnose.finding import Finding
from compiler.ir.store import save

_PACKAGES = ("plumbline", "torch", "onnx", "onnx-ir", "onnxscript", "numpy", "onnxruntime", "openvino", "apache-tvm")


def write(folder: Path, diagnosis: Diagnosis, finding: Finding, target: str) -> None:
    """An older folder is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, model in finding.graphs.items():
        save(model.clone(), folder / name)
    _save(folder / "inputs.npz", finding.inputs)
    _save(folder / "expected.npz", finding.truth.precise)
    _save(folder / "got.npz", finding.got)
    script = scripts.script(diagnosis.stage, target, list(finding.graphs))
    (folder / "show.py").write_text(script.text, encoding="utf-8")
    (folder / "versions.txt").write_text("".join(f"{line}\n" for line in _versions()), encoding="utf-8")
    (folder / "README.md").write_text(_readme(diagnosis, script, finding.graphs), encoding="utf-8")


def _save(path: Path, arrays: Arrays) -> None:
    # numpy's format does not know bfloat16; every bfloat16 is a float32, too.
    plain = {
        name: array.astype(np.float32) if dtype_name(array.dtype) == "bfloat16" else array
        for name, array in arrays.items()
    }
    np.savez(path, **plain)  # type: ignore[arg-type]


def _versions() -> Iterable[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    yield f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def _readme(diagnosis: Diagnosis, script: scripts.Script, graphs: Mapping[str, object]) -> str:
    rows = [
        f"- {label}: {text}" if label else f"  - {text}" for label, text in diagnosis.details() if label != "folder"
    ]
    files = [
        *(f"- `{name}`: {_GRAPHS[name]}" for name in graphs),
        "- `inputs.npz`: what goes in",
        f"- `expected.npz`: what should come out, {_EXPECTED[diagnosis.stage]}",
        f"- `got.npz`: what came out of {_GOT[diagnosis.stage]}",
        f"- `show.py`: {script.summary}",
        "- `versions.txt`",
    ]
    return "\n".join([f"# {diagnosis.sentence}", "", *rows, "", "## Files", "", *files, ""])


_GRAPHS = {
    "reduced.onnx": "the smallest graph that shows it",
    "before.onnx": "the piece as it was",
    "after.onnx": "the piece as the pass left it",
}
_EXPECTED = {
    "exporter": "computed by PyTorch in float64",
    "pass": "computed from before.onnx in float64",
    "runtime": "computed in float64",
}
_GOT = {
    "exporter": "the graph on plumbline's evaluator",
    "pass": "after.onnx on plumbline's evaluator",
    "runtime": "the runtime",
}
