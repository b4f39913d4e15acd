"""Identity(x) = x: users of the output use the input instead."""

from __future__ import annotations

from onnx_ir.passes.common import IdentityEliminationPass


class RemoveIdentities(IdentityEliminationPass):
    """onnx-ir's own; it keeps an Identity between a graph's input and its output, where a name must stay."""
