"""A target whose numbers drift, as those of a new version of a runtime may: the environment says how far, and into
which precision.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from misbehaving import FaultySession, Sound

from compiler.contracts import Array, Artifact, Session


class Drifting(Sound):
    name = "drifting"

    def change(self, outputs: dict[str, Array]) -> dict[str, Array]:
        """Every element is off by so many roundings of the largest, up and down in turn."""
        roundings = float(os.environ.get("DRIFT", "0"))
        return {
            name: (array + roundings * _signs(array) * np.spacing(np.abs(array).max())).astype(array.dtype)
            for name, array in outputs.items()
        }

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        inner = super().open(artifact, folder, options)
        assert isinstance(inner, FaultySession)
        return _Told(inner, os.environ.get("PRECISION", "float32"))


def _signs(array: Array) -> Array:
    return np.where(np.arange(array.size) % 2, 1.0, -1.0).reshape(array.shape)


class _Told(FaultySession):
    def __init__(self, inner: FaultySession, precision: str) -> None:
        super().__init__(inner._backend, inner._session, faulty=False)
        self._precision = precision

    @property
    def effective(self) -> Mapping[str, Any]:
        return {"precision": self._precision}
