"""The targets, and the way to run a finished bundle.

    import backends
    session = backends.load("build/model.onnxruntime")
    outputs = session({"input_ids": ids, "attention_mask": mask})

Nothing here needs torch: a host that runs an artifact installs numpy and the one runtime.
"""

from __future__ import annotations

from backends.loading import load
from backends.registry import TARGETS, get, names

__all__ = ["TARGETS", "get", "load", "names"]
