"""TensorRT: the artifact is an engine for NVIDIA GPUs. With TensorRT-RTX it is built on any machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.tensorrt import options as settings
from backends.tensorrt.flavor import Runtime, find, need
from backends.tensorrt.gpu import Gpu, gpus
from backends.tensorrt.legality import LEGALITY
from backends.tensorrt.precisions import ROUTES
from compiler.contracts import Arrays, Artifact, Legality, OperatorTime, Probe, Ready, Session, Signature, Unavailable
from compiler.errors import UsageError
from compiler.graph_files import adopt

ENGINE = "model.engine"


class TensorRt:
    name = "tensorrt"

    def probe(self) -> Probe:
        here = gpus()
        found = find(None, here)
        if isinstance(found, Unavailable):
            return found
        usable = tuple(str(gpu) for gpu in here if found.runs_on(gpu))
        note = "" if usable else _why_not(found, here)
        types = ("float32", "float16", "bfloat16")
        return Ready(found.version, usable, types, runs=bool(usable), note=note, routes=ROUTES)

    @property
    def legality(self) -> Legality:
        return LEGALITY

    def options(self) -> Mapping[str, str]:
        return settings.HELP

    def passes(self) -> Sequence[Any]:
        from backends.tensorrt.passes.expand_untaken import ExpandUntaken
        from backends.tensorrt.passes.scatter_reductions import ScatterReductions
        from backends.tensorrt.passes.small_integers import SmallIntegers
        from backends.tensorrt.passes.trim_outputs import TrimOutputs
        from compiler.passes.fold_constants import FoldConstants
        from compiler.passes.infer_shapes import InferShapes
        from compiler.passes.split_key_value_cache import SplitKeyValueCache

        return (
            SplitKeyValueCache(),  # for one Attention with a past, all would be expanded
            TrimOutputs(),
            ExpandUntaken(),
            # Bodies that took an operator's place compute from constants what the parser wants to see as a constant.
            InferShapes(),
            FoldConstants(),
            ScatterReductions(),
            SmallIntegers(),  # last: it refuses what computes with 8 bits by then
        )

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        from backends.tensorrt import engine

        chosen = settings.read(options)
        here = gpus()
        runtime = need(chosen.flavor, here)
        plan = engine.plan(runtime, chosen, _gpu(here, chosen.device), signature)
        engine.build(plan, graph, out / ENGINE)
        return Artifact(
            self.name,
            (ENGINE, *(adopt(graph, out) if chosen.strip_weights else ())),
            runtime.version,
            signature,
            precision="tf32" if chosen.tf32 else "float32",
            options=dict(options),
            facts={
                "native_code": True,
                "cpu_features": [],  # the code is for a GPU
                "flavor": runtime.flavor.name,
                **engine.facts(plan),
            },
        )

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        from backends.tensorrt.session import opened

        return opened(artifact, folder, settings.read(options))

    def profile(
        self, artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
    ) -> Sequence[OperatorTime]:
        from backends.tensorrt.profile import profile

        return profile(artifact, folder, settings.read(options), inputs, calls)


def _gpu(here: Sequence[Gpu], index: int) -> Gpu | None:
    if not here and index == 0:
        return None
    if index >= len(here):
        raise UsageError("bad-option", f"there is no GPU {index}", why=f"the driver shows {len(here)}")
    return here[index]


def _why_not(runtime: Runtime, here: Sequence[Gpu]) -> str:
    if not here:
        return "no NVIDIA GPU here"
    known = ", ".join(f"{major}.{minor}" for major, minor in runtime.architectures())
    return f"{runtime.flavor.title} is made for the architectures {known}, not for {here[0]}"
