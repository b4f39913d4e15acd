"""From a bundle on disk to a session that can be called."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends import host, registry
from backends.checked import CheckedSession
from compiler import bundle as bundles
from compiler.contracts import Backend, Session, Unavailable
from compiler.errors import CompileError, UnavailableError


def load(
    folder: str | os.PathLike[str],
    *,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> CheckedSession:
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
    opened = _open_native if artifact.facts.get("native_code") else _open_while_checking
    return CheckedSession(opened(backend, bundle, settings), artifact.signature)


def _open_native(backend: Backend, bundle: bundles.Bundle, settings: Mapping[str, Any]) -> Session:
    """Code is not even mapped before it is known to be what was sealed."""
    bundles.check(bundle)
    return backend.open(bundle.artifact, bundle.folder, settings)


def _open_while_checking(backend: Backend, bundle: bundles.Bundle, settings: Mapping[str, Any]) -> Session:
    """Data may be read while its hash is still being taken; nobody gets the session before both are done."""
    failures: list[CompileError] = []
    checking = threading.Thread(target=_check, args=(bundle, failures))
    checking.start()
    session = None
    try:
        session = backend.open(bundle.artifact, bundle.folder, settings)
    finally:
        checking.join()
        if failures:
            if session is not None:
                session.close()
            raise failures[0]
    return session


def _check(bundle: bundles.Bundle, failures: list[CompileError]) -> None:
    try:
        bundles.check(bundle)
    except CompileError as error:
        failures.append(error)
