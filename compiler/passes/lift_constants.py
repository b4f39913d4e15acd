"""Constant nodes become initializers, so that every later pass finds constants in one place only."""

from __future__ import annotations

from onnx_ir.passes.common import LiftConstantsToInitializersPass


class LiftConstants(LiftConstantsToInitializersPass):
    """onnx-ir's own, for constants of every kind and size."""

    def __init__(self) -> None:
        super().__init__(lift_all_constants=True, size_limit=0)
