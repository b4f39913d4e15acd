"""The hub graph itself, for any runtime that reads ONNX; proven on our own evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backends.onnx.precisions import ROUTES
from compiler.contracts import Array, Arrays, Artifact, Closing, Legality, Probe, Ready, Session, Signature, Unavailable
from compiler.errors import UnavailableError, UsageError
from compiler.graph_files import adopt

_NOTE = "loading a bundle needs torch, and threads are not honoured; model.onnx runs in any runtime that reads ONNX"


class Onnx:
    name = "onnx"

    def probe(self) -> Probe:
        try:
            found = version("onnx")
            version("onnx-ir")
        except PackageNotFoundError as error:
            return Unavailable(f"{error.name} is not installed", "pip install 'plumbline[compile]'")
        precisions = ("float32", "float64", "float16", "bfloat16")
        return Ready(f"onnx {found}", ("reference evaluator",), precisions, note=_NOTE, routes=ROUTES)

    @property
    def legality(self) -> Legality:
        return Legality(opsets={"": 25, "ai.onnx.ml": 5})

    def options(self) -> Mapping[str, str]:
        return {}

    def passes(self) -> Sequence[Any]:
        return ()

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        if options := {name: value for name, value in options.items() if name != "threads"}:
            raise UsageError("unknown-option", f"onnx has no option '{next(iter(options))}'")
        state = self.probe()
        assert isinstance(state, Ready)
        return Artifact(self.name, adopt(graph, out), state.version, signature)

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        return EvaluatorSession(folder / artifact.files[0])


class EvaluatorSession(Closing):
    """Slow and right: the judge of graphs, run on the file that was written."""

    def __init__(self, file: Path) -> None:
        import onnx_ir as ir

        try:
            from compiler.ir.evaluate import Evaluator
        except ModuleNotFoundError as error:
            raise UnavailableError(
                "missing-extra",
                "running an onnx bundle needs plumbline's evaluator, which computes with torch",
                why=str(error),
                hint="pip install 'plumbline[compile]', or give model.onnx to any runtime that reads ONNX",
            ) from error

        self._evaluator = Evaluator(ir.load(file), precise=False)

    @property
    def effective(self) -> Mapping[str, Any]:
        return {"device": "reference evaluator", "precision": "as the graph says"}

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return self._evaluator(inputs)

    def close(self) -> None:
        del self._evaluator
