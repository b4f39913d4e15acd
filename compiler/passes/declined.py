"""A pass that looks at a place and leaves it alone says why."""

from __future__ import annotations

import onnx_ir as ir

from compiler.ir.provenance import describe


class Declining:
    """Mixed into a pass; the pipeline collects what was declined after each run."""

    def __init__(self) -> None:
        super().__init__()
        self._declined: list[str] = []

    def decline(self, node: ir.Node, why: str) -> None:
        self._declined.append(f"{describe(node)}: {why}")

    def take_declined(self) -> tuple[str, ...]:
        """What was declined since the last time anyone asked."""
        taken, self._declined = tuple(self._declined), []
        return taken
