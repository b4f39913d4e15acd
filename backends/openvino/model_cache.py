"""What OpenVINO makes of a model when it compiles it, kept in the cache of the project.

A folder belongs to one graph, runtime, processor and set of properties; inside of it OpenVINO tells models with other
weights apart. Weights are not kept again: they are read from the artifact, and so its place belongs to the key as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from backends import host
from compiler import cache

KIND = "openvino"


def properties(graph: Path, compiled_with: Mapping[str, str]) -> dict[str, str]:
    """What to compile the model with in addition; nothing where there is no cache."""
    import openvino

    here = host.facts()
    content, weights = hashlib.sha256(graph.read_bytes()).hexdigest(), str(graph.with_suffix(".bin").resolve())
    facts = [openvino.__version__, here["machine"], here["cpu"], here["cpu_features"], sorted(compiled_with.items())]
    place = cache.folder(KIND, content, weights, json.dumps(facts))
    if place is None:
        return {}
    return {"CACHE_DIR": str(place), "CACHE_MODE": "OPTIMIZE_SIZE", "WEIGHTS_PATH": weights}
