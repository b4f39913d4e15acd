"""What every session promises, whatever its runtime does: clear errors for wrong inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compiler.contracts import Array, Arrays, Closing, Dim, Session, Signature, TensorSpec, dtype_name
from compiler.errors import UsageError, did_you_mean

_Layout = tuple[tuple[str, type, Any, Any], ...]
_REMEMBERED = 1000


class CheckedSession(Closing):
    """A runtime's session behind one check of names, dtypes and shapes per call."""

    def __init__(self, session: Session, signature: Signature) -> None:
        self._session = session
        self.signature = signature
        self._inputs = {spec.name: spec for spec in signature.inputs}
        # What was found in order once is in order again; for a small model the check would cost more than the run.
        self._accepted: dict[_Layout, bool] = {}

    @property
    def effective(self) -> Mapping[str, Any]:
        return self._session.effective

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        layout: _Layout = tuple(
            [(name, type(a), getattr(a, "dtype", None), getattr(a, "shape", None)) for name, a in inputs.items()]
        )
        native = self._accepted.get(layout)
        if native is None:
            native = self._check(inputs)
            if len(self._accepted) < _REMEMBERED:
                self._accepted[layout] = native
        return self._session(inputs if native else {name: _native(array) for name, array in inputs.items()})

    def _check(self, inputs: Arrays) -> bool:
        """Raise unless the inputs are what the signature says; otherwise, whether all are in this machine's bytes."""
        if inputs.keys() != self._inputs.keys():
            self._refuse_names(inputs)
        sizes: dict[str, int] = {}
        for name, spec in self._inputs.items():
            _check(spec, inputs[name], sizes)
        return all(array.dtype.isnative for array in inputs.values())

    def _refuse_names(self, inputs: Arrays) -> None:
        for name in inputs:
            if name not in self._inputs:
                raise UsageError(
                    "input-mismatch",
                    f"there is no input '{name}'",
                    why=f"the inputs are {', '.join(map(str, self.signature.inputs))}",
                    hint=did_you_mean(name, self._inputs),
                )
        missing = next(name for name in self._inputs if name not in inputs)
        raise UsageError("input-mismatch", f"the input '{self._inputs[missing]}' is missing")

    def close(self) -> None:
        self._session.close()


def _native(array: Array) -> Array:
    """In this machine's byte order; runtimes look at the bytes only, and would take others for other numbers."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check(spec: TensorSpec, array: Any, sizes: dict[str, int]) -> None:
    if not isinstance(array, np.ndarray):
        raise UsageError("input-mismatch", f"input '{spec.name}' is a {type(array).__name__}, not a numpy array")
    if dtype_name(array.dtype) != spec.dtype:
        raise UsageError(
            "input-mismatch",
            f"input '{spec.name}' is {dtype_name(array.dtype)}, the model takes {spec.dtype}",
            hint=f"pass array.astype('{spec.dtype}')",
        )
    if len(array.shape) != len(spec.dims):
        raise _wrong_shape(spec, array)
    for extent, size in zip(spec.dims, array.shape, strict=True):
        if isinstance(extent, Dim):
            if size not in extent or sizes.setdefault(extent.name, size) != size:
                raise _wrong_shape(spec, array)
        elif extent != size:
            raise _wrong_shape(spec, array)


def _wrong_shape(spec: TensorSpec, array: Any) -> UsageError:
    shape = ",".join(map(str, array.shape))
    return UsageError(
        "input-mismatch",
        f"input '{spec.name}' has shape [{shape}], the model takes {spec}",
        hint="a named dim must be within its range and the same in every input",
    )
