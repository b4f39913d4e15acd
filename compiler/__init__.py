"""plumbline: compile a PyTorch model and prove that it still computes what the model computes.

import compiler
result = compiler.compile(module, {"x": tensor}, target="onnxruntime")
outputs = result.session()({"x": array})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.api import Result, compile, compile_all

__all__ = ["Result", "__version__", "compile", "compile_all"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that a host which only runs artifacts does not load the pipeline.
    if name in ("compile", "compile_all", "Result"):
        from compiler import api

        return getattr(api, name)
    raise AttributeError(f"module 'compiler' has no attribute '{name}'")
