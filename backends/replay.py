"""A folder that shows a crash again: `python -m backends.replay FOLDER`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compiler import bundle as bundles
from compiler.contracts import Array, Arrays, Artifact, Signature, dtype_name

_README = """\
{target} failed here while plumbline asked it to {step}.

    python -m backends.replay {folder}

does the same again in one process. log.txt is what the runtime said.
"""


@dataclass(frozen=True)
class Request:
    """What a backend was asked to do."""

    target: str
    step: str  # build, open or run
    options: Mapping[str, Any]
    signature: Signature
    graph: Path | None = None
    artifact: Artifact | None = None
    folder: Path | None = None
    inputs: Arrays | None = None

    def with_inputs(self, inputs: Arrays) -> Request:
        return replace(self, step="run", inputs=inputs)


def write(folder: Path, request: Request, log: str, memory_limit: int | None = None) -> Path:
    """Everything that the request needs, in one folder; an older one is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files: list[str] = []
    if request.graph is not None:
        for path in request.graph.parent.glob(request.graph.name + "*"):
            shutil.copy2(path, folder / path.name)
        files = [request.graph.name]
    elif request.artifact is not None and request.folder is not None:
        for name in request.artifact.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(request.folder / name, folder / name)
        files = list(request.artifact.files)
    if request.inputs is not None:
        arrays: dict[str, Any] = {name: _plain(np.asarray(array)) for name, array in request.inputs.items()}
        np.savez(folder / "inputs.npz", **arrays)
    artifact = request.artifact
    bundles.write_json(
        folder / "request.json",
        {
            "target": request.target,
            "step": request.step,
            "options": dict(request.options),
            "memory_limit": memory_limit,
            "signature": bundles.signature_to_json(request.signature),
            "files": files,
            "dtypes": {name: dtype_name(array.dtype) for name, array in (request.inputs or {}).items()},
            "runtime": artifact.runtime if artifact else "",
            "facts": dict(artifact.facts) if artifact else {},
        },
    )
    (folder / "log.txt").write_text(log, encoding="utf-8")
    text = _README.format(target=request.target, step=request.step, folder=folder)
    (folder / "README.txt").write_text(text, encoding="utf-8")
    return folder


def _plain(array: Array) -> Array:
    """numpy's format does not know bfloat16; its bits travel as uint16."""
    return array.view(np.uint16) if dtype_name(array.dtype) == "bfloat16" else array


def _inputs(folder: Path, dtypes: Mapping[str, str]) -> dict[str, Array]:
    with np.load(folder / "inputs.npz", allow_pickle=False) as file:
        arrays = dict(file)
    if "bfloat16" in dtypes.values():
        import ml_dtypes

        arrays |= {name: arrays[name].view(ml_dtypes.bfloat16) for name in dtypes if dtypes[name] == "bfloat16"}
    return arrays


def main(folder: Path) -> None:
    """Ask the backend again, in this process."""
    import tempfile

    from backends import registry
    from backends.worker import limit_memory

    data = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    limit_memory(data["memory_limit"])
    signature = bundles.signature_from_json(data["signature"])
    backend = registry.get(data["target"])
    if data["step"] == "build":
        with tempfile.TemporaryDirectory() as out:
            # A build may move its graph; the folder must stay whole.
            for path in folder.glob(data["files"][0] + "*"):
                shutil.copy2(path, out)
            backend.build(Path(out) / data["files"][0], signature, data["options"], Path(out))
    else:
        artifact = Artifact(data["target"], tuple(data["files"]), data["runtime"], signature, facts=data["facts"])
        with backend.open(artifact, folder, data["options"]) as session:
            if data["step"] == "run":
                session(_inputs(folder, data["dtypes"]))
    sys.stdout.write(f"{data['target']}: {data['step']} went through this time\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
