"""Nodes and initializers that no output depends on are removed."""

from __future__ import annotations

from onnx_ir.passes.common import RemoveUnusedNodesPass


class RemoveDeadCode(RemoveUnusedNodesPass):
    """onnx-ir's own, under the name that the pipeline shows."""
