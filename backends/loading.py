"""From a bundle on disk to a session that can be called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends import host, registry
from backends.checked import CheckedSession
from compiler import bundle as bundles
from compiler.contracts import Session, Unavailable
from compiler.errors import CompileError, UnavailableError


def load(
    folder: str | os.PathLike[str],
    *,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Session:
    """Open a bundle for running, after checking that it is whole and that it can run here.

    `trust` also opens a bundle that was rejected because its numbers differ.
    """
    bundle = bundles.read(Path(folder))
    if bundle.rejected and not trust:
        raise CompileError(
            "rejected-bundle",
            f"'{bundle.folder}' was rejected: its numbers differ from the model's",
            hint="read its report.md; backends.load(..., trust=True) opens it all the same",
        )
    bundles.check(bundle)
    artifact = bundle.artifact
    backend = registry.get(artifact.target)
    state = backend.probe()
    if isinstance(state, Unavailable):
        raise UnavailableError(
            "runtime-missing", f"{artifact.target} cannot run here", why=state.reason, hint=state.remedy
        )
    host.check(bundle.manifest["host"], artifact, state)
    settings = {**artifact.options, **(options or {})}
    if threads is not None:
        settings["threads"] = threads
    return CheckedSession(backend.open(artifact, bundle.folder, settings), artifact.signature)
