"""OpenVINO on the CPU: the artifact is its IR, an .xml with the graph and a .bin with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.openvino import options as settings
from backends.openvino.legality import LEGALITY
from backends.openvino.precisions import routes
from compiler.contracts import Arrays, Artifact, Legality, OperatorTime, Probe, Ready, Session, Signature, Unavailable


class OpenVino:
    name = "openvino"

    def probe(self) -> Probe:
        try:
            import openvino
        except ImportError as error:
            return Unavailable(f"openvino cannot be imported: {error}", "pip install 'plumbline[openvino]'")
        version = openvino.__version__.partition("-")[0]
        devices = openvino.Core().available_devices
        if settings.DEVICE not in devices:
            return Unavailable(f"openvino {version} has no CPU plugin here", "pip install --force-reinstall openvino")
        return Ready(f"openvino {version}", (settings.DEVICE.lower(),), ("float32",), routes=routes())

    @property
    def legality(self) -> Legality:
        return LEGALITY

    def options(self) -> Mapping[str, str]:
        return settings.help_texts()

    def passes(self) -> Sequence[Any]:
        from backends.openvino.passes.decompose_attention import DecomposeAttention
        from backends.openvino.passes.empty_rows import EmptyRows
        from backends.openvino.passes.empty_values import EmptyValues
        from backends.openvino.passes.exact_remainders import ExactRemainders
        from backends.openvino.passes.resize_matrices import ResizeMatrices
        from backends.openvino.passes.spell_out_ceil import SpellOutCeil
        from backends.openvino.passes.spell_out_tile import SpellOutTile
        from backends.openvino.passes.spell_out_unsqueeze import SpellOutUnsqueeze
        from backends.openvino.passes.spell_out_wrap import SpellOutWrap
        from backends.openvino.passes.transform_matrices import TransformMatrices
        from backends.openvino.passes.wrap_integers import WrapIntegers
        from compiler.passes.float_modulo import FloatModulo
        from compiler.passes.sequence_major import SequenceMajor
        from compiler.passes.split_key_value_cache import SplitKeyValueCache

        return (
            SplitKeyValueCache(),  # before the attention is taken apart, which is done best without
            DecomposeAttention(),
            EmptyRows(),  # what the expansion of an attention asks
            SpellOutTile(),
            SpellOutCeil(),
            SpellOutUnsqueeze(),
            SpellOutWrap(),
            SequenceMajor(),
            FloatModulo(),
            ExactRemainders(),  # of what FloatModulo makes, too
            TransformMatrices(),
            ResizeMatrices(),
            WrapIntegers(),
            EmptyValues(),  # last: what the others write may be empty, too
        )

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        from backends.openvino.build import build

        state = self.probe()
        assert isinstance(state, Ready)
        files, facts = build(graph, signature, options, out, self.name)
        return Artifact(self.name, files, state.version, signature, options=dict(options), facts=facts)

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        from backends.openvino.session import OpenVinoSession

        return OpenVinoSession(artifact, folder, options)

    def profile(
        self, artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
    ) -> Sequence[OperatorTime]:
        from backends.openvino.profile import profile

        return profile(artifact, folder, options, inputs, calls)
