"""TVM: the artifact is a shared library of kernels made for this model and this CPU, and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backends.tvm import options as settings
from backends.tvm.precisions import ROUTES
from compiler.contracts import Arrays, Artifact, Legality, OperatorTime, Probe, Ready, Session, Signature, Unavailable

_OPSET = 24
_REMEDY = "pip install 'plumbline[tvm]'"


class Tvm:
    name = "tvm"

    def probe(self) -> Probe:
        from backends.tvm import devices, runtime

        try:
            found = version("apache-tvm")
            runtime.folder()
            runtime.ffi()
        except (ImportError, OSError, PackageNotFoundError) as error:
            return Unavailable(f"tvm cannot be imported: {error}", _REMEDY)
        gpus = ("cuda",) if devices.missing_gpu() is None else ()
        return Ready(f"tvm {found}", ("cpu", *gpus), ("float32", "float64", "float16"), routes=ROUTES)

    @cached_property
    def legality(self) -> Legality:
        from onnx import defs

        from backends.tvm.operators import EMITTED

        standard = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
        return Legality(
            opsets={"": _OPSET},
            refuses=dict.fromkeys(sorted(standard - EMITTED), "there is no kernel for it"),
            dtypes={
                "bfloat16": "TVM's kernels round it differently from operator to operator",
                "string": "TVM has no tensors of text",
                "complex64": "TVM has no complex tensors",
                "complex128": "TVM has no complex tensors",
            },
        )

    def options(self) -> Mapping[str, str]:
        return settings.HELP

    def passes(self) -> Sequence[Any]:
        import onnx_ir as ir

        from compiler.passes.dequantize_rows import DequantizeRows
        from compiler.passes.write_out_weights import WriteOutWeights

        narrow = (ir.DataType.INT4, ir.DataType.UINT4)  # TVM has no such arrays
        return DequantizeRows(), WriteOutWeights(narrow)

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        settings.check(options)
        from backends.tvm.build import build

        state = self.probe()
        assert isinstance(state, Ready)
        return build(graph, signature, options, out, state.version)

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        from backends.tvm.session import TvmSession

        return TvmSession(artifact, folder, options)

    def profile(
        self, artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
    ) -> Sequence[OperatorTime]:
        from backends.tvm.profile import profile

        return profile(artifact, folder, options, inputs, calls)
