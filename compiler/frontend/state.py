"""A model that changes its own buffers starts from the same ones at every call: what is compiled keeps no state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import ExportedProgram


def writes_in_place(exported: ExportedProgram | None) -> bool:
    """Whether anything may; that it is a buffer, or a view of one, cannot be told from the operator."""
    if exported is None:
        return True  # a script does not tell
    if exported.graph_signature.buffers_to_mutate:
        return True
    targets = [node.target for node in exported.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    return any(target._schema.is_mutable for target in targets)


@contextmanager
def unchanged(module: torch.nn.Module, wanted: bool, changed: set[str]) -> Iterator[None]:
    """Whatever happens to buffers inside, written to or replaced, is undone; `changed` gets the names of those."""
    kept = [
        (f"{path}.{name}" if path else name, owner, name, buffer, buffer._version, buffer.clone())
        for path, owner in (module.named_modules() if wanted else ())
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for full_name, owner, name, buffer, version, values in kept:
            if buffer._version != version:
                changed.add(full_name)
                buffer.copy_(values)
            if getattr(owner, name) is not buffer and not isinstance(owner, torch.jit.ScriptModule):
                changed.add(full_name)
                setattr(owner, name, buffer)


def forgets(changed: set[str]) -> str:
    first, *rest = sorted(changed)
    more = f" and {len(rest)} more" if rest else ""
    return (
        f"forward changes the buffer '{first}'{more}; what is compiled keeps nothing between calls and starts from "
        "the saved values each time (return the new value and take it as an input, if it has to go on)"
    )
