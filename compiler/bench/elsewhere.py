"""What has to be said of a bundle that was not made here: its verdict is that of another machine or another runtime."""

from __future__ import annotations

from backends import host, registry
from compiler.bundle import Bundle
from compiler.contracts import Ready


def note(bundle: Bundle) -> str:
    """Of one that runs here; nothing where all is as it was."""
    was, found = [], []
    state = registry.probe(bundle.artifact.target)
    if isinstance(state, Ready) and state.version != bundle.artifact.runtime:
        was.append(f"with {bundle.artifact.runtime}")
        found.append(state.version)
    there, here = bundle.manifest["host"]["cpu"], host.facts()["cpu"]
    if there != here:
        was.append(f"on {there}")
        found.append(f"on {here}" if found else here)
    if not was:
        return ""
    told = f"built and verified {' '.join(was)}, and this is {' '.join(found)}"
    return f"{told}; `compile verify` tells whether the numbers still hold"
