"""What every session promises, whatever its runtime does: clear errors for wrong inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compiler.contracts import Array, Arrays, Closing, Dim, Session, Signature, TensorSpec, dtype_name
from compiler.errors import UsageError, did_you_mean

_Layout = tuple[tuple[str, type, Any, Any], ...]
_Last = tuple[tuple[str, Any, tuple[int, ...]], ...]
_REMEMBERED = 1000


class CheckedSession(Closing):
    """A runtime's session behind one check of names, dtypes and shapes per call."""

    def __init__(self, session: Session, signature: Signature) -> None:
        self._session = session
        self.signature = signature
        self._inputs = {spec.name: spec for spec in signature.inputs}
        # What was found in order once is in order again; for a small model the check would cost more than the run.
        self._accepted: dict[_Layout, bool] = {}
        # Of the last call, if its arrays were in this machine's bytes: comparing costs a third of looking up.
        self._last: _Last = ()

    @property
    def effective(self) -> Mapping[str, Any]:
        return self._session.effective

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        if self._as_before(inputs):
            return self._session(inputs)
        layout: _Layout = tuple(
            [(name, type(a), getattr(a, "dtype", None), getattr(a, "shape", None)) for name, a in inputs.items()]
        )
        native = self._accepted.get(layout)
        if native is None:
            native = self._check(inputs)
            if len(self._accepted) < _REMEMBERED:
                self._accepted[layout] = native
        if not native:
            return self._session({name: _native(array) for name, array in inputs.items()})
        self._last = tuple([(name, array.dtype, array.shape) for name, array in inputs.items()])
        return self._session(inputs)

    def _as_before(self, inputs: Arrays) -> bool:
        last = self._last
        if not last or len(inputs) != len(last):
            return False
        for name, dtype, shape in last:
            array = inputs.get(name)
            if type(array) is not np.ndarray or array.dtype is not dtype or array.shape != shape:
                return False
        return True

    def _check(self, inputs: Arrays) -> bool:
        """Raise unless the inputs are what the signature says; otherwise, whether all are in this machine's bytes."""
        hold_names(inputs, self.signature.inputs, "input")
        sizes: dict[str, int] = {}
        for name, spec in self._inputs.items():
            _check(spec, inputs[name], sizes)
        return all(array.dtype.isnative for array in inputs.values())

    def on_device(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """The same with arrays on a GPU, where the results are written into arrays that are given, too."""
        run = getattr(self._session, "on_device", None)
        if run is None:
            raise UsageError(
                "no-device-arrays",
                "this target takes numpy arrays only",
                hint="call the session itself; sessions of --target tensorrt take arrays that lie on the GPU",
            )
        run(inputs, outputs)

    def close(self) -> None:
        self._session.close()


def hold_names(given: Mapping[str, Any], specs: Sequence[TensorSpec], kind: str) -> None:
    """One of each, and no other."""
    known = {spec.name: spec for spec in specs}
    for name in given:
        if name not in known:
            raise UsageError(
                "input-mismatch",
                f"there is no {kind} '{name}'",
                why=f"the {kind}s are {', '.join(map(str, specs))}",
                hint=did_you_mean(name, known),
            )
    for name, spec in known.items():
        if name not in given:
            raise UsageError("input-mismatch", f"the {kind} '{spec}' is missing")


def _native(array: Array) -> Array:
    """In this machine's byte order; runtimes look at the bytes only, and would take others for other numbers."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check(spec: TensorSpec, array: Any, sizes: dict[str, int]) -> None:
    if not isinstance(array, np.ndarray):
        raise UsageError("input-mismatch", f"input '{spec.name}' is a {type(array).__name__}, not a numpy array")
    hold(spec, dtype_name(array.dtype), array.shape, sizes)


def hold(spec: TensorSpec, dtype: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Raise unless an array is as the signature says; `sizes` remembers the named dims from one input to the next."""
    hold_dtype(spec, dtype, "input")
    if len(shape) != len(spec.dims):
        raise _wrong_shape(spec, shape)
    for extent, size in zip(spec.dims, shape, strict=True):
        if isinstance(extent, Dim):
            if size not in extent or sizes.setdefault(extent.name, size) != size:
                raise _wrong_shape(spec, shape)
        elif extent != size:
            raise _wrong_shape(spec, shape)


def hold_dtype(spec: TensorSpec, dtype: str, kind: str) -> None:
    if dtype != spec.dtype:
        raise UsageError(
            "input-mismatch",
            f"{kind} '{spec.name}' is {dtype}, the model {'takes' if kind == 'input' else 'gives'} {spec.dtype}",
            hint=f"pass array.astype('{spec.dtype}')" if kind == "input" else None,
        )


def _wrong_shape(spec: TensorSpec, shape: tuple[int, ...]) -> UsageError:
    return UsageError(
        "input-mismatch",
        f"input '{spec.name}' has shape [{','.join(map(str, shape))}], the model takes {spec}",
        hint="a named dim must be within its range and the same in every input",
    )
