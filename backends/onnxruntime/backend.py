"""ONNX Runtime: the artifact is the graph itself, as an .onnx file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.onnxruntime import options as settings
from backends.onnxruntime.precisions import ROUTES
from backends.onnxruntime.session import OnnxRuntimeSession
from compiler.contracts import Arrays, Artifact, Legality, OperatorTime, Probe, Ready, Session, Signature, Unavailable
from compiler.graph_files import adopt

_LEGALITY = Legality(
    opsets={"": 24, "com.microsoft": 1, "ai.onnx.ml": 5},
    dtypes={
        "bfloat16": "ONNX Runtime's CPU provider has no bfloat16 kernels",
        "complex64": "ONNX Runtime has no complex tensors",
        "complex128": "ONNX Runtime has no complex tensors",
    },
)


class OnnxRuntime:
    name = "onnxruntime"

    def probe(self) -> Probe:
        try:
            import onnxruntime
        except ImportError as error:
            return Unavailable(f"onnxruntime cannot be imported: {error}", "pip install 'plumbline[onnxruntime]'")
        devices = tuple(
            provider.removesuffix("ExecutionProvider").lower()
            for provider in onnxruntime.get_available_providers()
            if not provider.startswith("Azure")
        )
        return Ready(
            f"onnxruntime {onnxruntime.__version__}", devices, ("float32", "float64", "float16"), routes=ROUTES
        )

    @property
    def legality(self) -> Legality:
        return _LEGALITY

    def options(self) -> Mapping[str, str]:
        return settings.HELP

    def passes(self) -> Sequence[Any]:
        from backends.onnxruntime.passes.empty_reductions import EmptyReductions
        from backends.onnxruntime.passes.few_bit_weights import FewBitWeights
        from backends.onnxruntime.passes.fit_kernels import FitKernels
        from backends.onnxruntime.passes.fit_masks import FitMasks
        from backends.onnxruntime.passes.instance_groups import InstanceGroups
        from backends.onnxruntime.passes.name_pad_axes import NamePadAxes
        from backends.onnxruntime.passes.older_roi_align import OlderRoiAlign
        from backends.onnxruntime.passes.precise_transforms import PreciseTransforms
        from backends.onnxruntime.passes.quick_gelu import QuickGelu
        from backends.onnxruntime.passes.scatter_rows import ScatterRows
        from backends.onnxruntime.passes.split_attention import SplitAttention
        from compiler.passes.dequantize_rows import DequantizeRows
        from compiler.passes.float_modulo import FloatModulo
        from compiler.passes.sequence_major import SequenceMajor

        return (
            SplitAttention(_LEGALITY),
            FitMasks(),
            OlderRoiAlign(_LEGALITY),
            SequenceMajor(),
            FloatModulo(),
            PreciseTransforms(),
            EmptyReductions(),
            ScatterRows(),
            NamePadAxes(),
            QuickGelu(),
            InstanceGroups(),
            DequantizeRows(),
            FewBitWeights(),  # of a table that is also a layer's weight, the rows are read apart by now
            FitKernels(_LEGALITY),  # last: it refuses what has no kernel by then
        )

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        settings.check(options)
        state = self.probe()
        assert isinstance(state, Ready)
        return Artifact(self.name, adopt(graph, out), state.version, signature, options=dict(options))

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        return OnnxRuntimeSession(folder / artifact.files[0], artifact.signature, options)

    def profile(
        self, artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
    ) -> Sequence[OperatorTime]:
        from backends.onnxruntime.profile import profile

        return profile(folder / artifact.files[0], options, inputs, calls)
