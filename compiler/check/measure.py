"""From a bundle's manifest to the figures of a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from compiler.check.cells import Figures, Measured, Numbers

# What a fusion of ours leaves, or the exporter keeps whole: losing one of these is losing a fast kernel.
FUSED = (
    "Attention",
    "GroupNormalization",
    "Gelu",
    "HardSwish",
    "LayerNormalization",
    "Mish",
    "RMSNormalization",
    "RotaryEmbedding",
    "Swish",
)
_TELLING = ("torch", "onnxscript", "transformers", "numpy")  # beside plumbline and the runtime
_AS_WRITTEN = "as the graph says"
_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"}


def measured(manifest: Mapping[str, Any], size: int, units: Mapping[str, Mapping[str, Any]]) -> Measured:
    """What a finished compilation tells; `size` is of the artifact's files, `units` what its errors are counted in."""
    verdict, artifact = manifest["verdict"], manifest["artifact"]
    figures = Figures(
        precision=_precision(manifest),
        ran=verdict["status"] != "not run",
        bytes=size,
        fusions=_fusions(manifest),
        versions=_versions(manifest["plumbline"], artifact["runtime"], manifest["versions"]),
        outputs={output["output"]: _numbers(output) for output in verdict["outputs"]},
        edges={_edge(edge): edge["how"] for edge in verdict["edges"] if not edge["same"]},
        promises=_promises(verdict),
        fidelity={name: _numbers(output) for name, output in _fidelity(manifest).items()},
    )
    return Measured(
        verdict["status"],
        figures,
        slack=_slack(units),
        why={**_unfaithful(manifest), **{one["output"]: _why(one) for one in verdict["outputs"] if not one["passed"]}},
        operators=manifest["operators"],
        declined=_declined(manifest["passes"]),
        notes=tuple(verdict["notes"]),
    )


def _numbers(output: Mapping[str, Any]) -> Numbers:
    return Numbers(float(output["used"]), float(output["rms"]), float(output["error"]))


def _promises(verdict: Mapping[str, Any]) -> dict[str, float]:
    """What was asked for of each output in place of the budget, and what that came to."""
    found = {}
    for output in verdict["outputs"]:
        for promise in output["promises"]:
            clause = promise["text"].removeprefix(f"{output['output']}:")
            found[f"{output['output']}:{clause}"] = float(promise["worst"])
    return found


def _fidelity(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """In lower precision: each output against what the graph itself gives."""
    low = manifest["precision"]
    verdict = low["fidelity"] if low is not None else None
    return {output["output"]: output for output in verdict["outputs"]} if verdict is not None else {}


def _unfaithful(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: f"the runtime does not compute its own graph: {_why(output)}"
        for name, output in _fidelity(manifest).items()
        if not output["passed"]
    }


def _slack(units: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """How uncertain an output's unit is, on the kind of data where it is most so."""
    found: dict[str, float] = {}
    for kind in units.values():
        for name, unit in kind.items():
            found[name] = max(found.get(name, 1.0), float(unit["unlucky"]))
    return found


def _edge(edge: Mapping[str, Any]) -> str:
    return f"{edge['probe']}: {edge['output']}" if edge["output"] else str(edge["probe"])


def _why(output: Mapping[str, Any]) -> str:
    return f"{output['why']} ({output['case']})" if output["case"] else str(output["why"])


def _precision(manifest: Mapping[str, Any]) -> str:
    """What the runtime computes in; one that follows the graph computes in the type of what comes out, and one that was
    given a graph in lower precision, and computes it, in that."""
    artifact, low = manifest["artifact"], manifest["precision"]
    if low is not None:
        return str(low["precision"])
    told = manifest["effective"].get("precision", artifact["precision"])
    if told != _AS_WRITTEN:
        return _PRECISIONS.get(told, str(told))
    signature = artifact["signature"]
    types = [spec["dtype"] for spec in (*signature["outputs"], *signature["inputs"])]
    return next((dtype for dtype in types if "float" in dtype), str(artifact["precision"]))


def _fusions(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Of the optimized graph; and the runtime's own operators, which only its own passes bring in."""
    found = Counter({name: count for name, count in manifest["operators"].items() if name in FUSED or "::" in name})
    names = [record["name"] for record in manifest["passes"]]
    for record in manifest["passes"][names.index("legalize") + 1 :]:
        found.update({name: count for name, count in record["operators"].items() if not _is_standard(name)})
    return {name: count for name, count in sorted(found.items()) if count > 0}


def _is_standard(operator: str) -> bool:
    import onnx

    return bool(onnx.defs.has(operator))


def _versions(plumbline: str, runtime: str, packages: Mapping[str, str]) -> dict[str, str]:
    name, _, version = runtime.partition(" ")
    found = {"plumbline": plumbline, name: version, **{key: packages[key] for key in _TELLING if key in packages}}
    return dict(sorted(found.items()))


def _declined(records: list[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record["name"].startswith("fuse-") and record["declined"]:
            found.setdefault(record["name"], {}).update(dict.fromkeys(record["declined"]))
    return {name: tuple(reasons) for name, reasons in found.items()}
