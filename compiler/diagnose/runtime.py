"""The target as a black box: a graph and inputs go in, outputs come out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compiler.contracts import Array, Arrays, Backend, Dim, Signature, TensorSpec
from compiler.errors import CompileError, UnsupportedError, UsageError
from compiler.graph_files import GRAPH
from compiler.ir.store import save
from compiler.ir.verify import signature_of


@dataclass(frozen=True)
class Runtime:
    """Builds and runs below `folder`, which is empty again afterwards. `dims` are the model's own."""

    backend: Backend
    options: Mapping[str, Any]
    dims: Mapping[str, Dim]
    folder: Path

    def __call__(self, model: ir.Model, inputs: Arrays) -> dict[str, Array] | None:
        """None where the target does not take the graph, or breaks on it."""
        work = self.folder / "piece"
        (work / "graph").mkdir(parents=True)
        try:
            path = work / "graph" / GRAPH
            save(model.clone(), path)
            signature = _concrete(signature_of(model, self.dims), inputs)
            artifact = self.backend.build(path, signature, self.options, work)
            with self.backend.open(artifact, work, self.options) as session:
                return dict(session(inputs))
        except (CompileError, UnsupportedError, UsageError):
            return None
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _concrete(signature: Signature, inputs: Arrays) -> Signature:
    """Inputs whose sizes nobody has a range for are taken as they are."""

    def settled(spec: TensorSpec) -> TensorSpec:
        sizes = inputs[spec.name].shape
        return replace(
            spec, dims=tuple(size if isinstance(dim, str) else dim for dim, size in zip(spec.dims, sizes, strict=True))
        )

    return replace(signature, inputs=tuple(map(settled, signature.inputs)))
