"""A model that changes its own buffers starts from the same ones at every call: what is compiled keeps no state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import ExportedProgram


def writes_in_place(exported: ExportedProgram) -> bool:
    """Whether anything does; that it is a buffer, or a view of one, cannot be told from the operator."""
    targets = [node.target for node in exported.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    return any(target._schema.is_mutable for target in targets)


@contextmanager
def unchanged(module: torch.nn.Module, wanted: bool) -> Iterator[None]:
    """Whatever happens to buffers inside, written to or replaced, is undone."""
    kept = [
        (owner, name, buffer, buffer._version, buffer.clone())
        for owner in (module.modules() if wanted else ())
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for owner, name, buffer, version, values in kept:
            if buffer._version != version:
                buffer.copy_(values)
            if getattr(owner, name) is not buffer and not isinstance(owner, torch.jit.ScriptModule):
                setattr(owner, name, buffer)
