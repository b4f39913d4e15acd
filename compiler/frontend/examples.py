"""Inputs to trace and to check with: read from a file, or drawn so that the model can make sense of them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from compiler.contracts import Array, Arrays, Dim, TensorSpec, dtype_name
from compiler.errors import UsageError, did_you_mean
from compiler.frontend.program import InputRange
from compiler.frontend.sizes import trace_sizes

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def example_inputs(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """One input per spec at the trace sizes. Tracers look at shapes and dtypes, so any legal value will do."""
    sizes = trace_sizes(specs)
    rng = np.random.default_rng(0)
    return {spec.name: draw(spec, sizes, None, rng) for spec in specs}


def draw(spec: TensorSpec, sizes: Mapping[str, int], allowed: InputRange | None, rng: np.random.Generator) -> Array:
    """Ordinary data: normal floats, indices below their rows, and 0/1 masks that always keep their first element."""
    shape = spec.shape(sizes)
    dtype = numpy_dtype(spec.dtype)
    if spec.dtype in _FLOATS and allowed is not None and isinstance(allowed.hi, int):
        return _within(rng.uniform(allowed.lo or 0, allowed.hi, shape), allowed.hi, dtype)
    if spec.dtype in _FLOATS:
        values = rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(np.abs(values) if allowed is not None and allowed.lo == 0 else values).astype(dtype)
    if spec.dtype.startswith("complex"):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    if allowed is not None and allowed.hi is not None:
        top = sizes[allowed.hi] if isinstance(allowed.hi, str) else allowed.hi
        last = max(min(top, _largest(dtype)), 1) - 1
        values = np.asarray(rng.integers(0, last + 1, shape))
        if allowed.rising:
            return _rising(values).astype(dtype)
        if values.size > 1:  # the last row is one that a table cut short lacks
            values.flat[rng.integers(values.size)] = last
        return values.astype(dtype)
    return _mask(shape, rng).astype(dtype)


def _within(values: Array, end: int, dtype: np.dtype[np.generic]) -> Array:
    """The end itself is never reached, also after rounding to this type."""
    below = np.nextafter(np.asarray(end, dtype), np.asarray(0, dtype))
    return np.asarray(np.minimum(values.astype(dtype), below))


def _rising(values: Array) -> Array:
    values = np.sort(values, axis=-1)
    values[..., :1] = 0
    return values


def _mask(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Ones with a tail of zeros in the last axis, of another length in each row: what padding looks like."""
    if not shape or shape[-1] == 0:
        return np.ones(shape, dtype=np.int64)
    lengths = rng.integers(1, shape[-1] + 1, shape[:-1])
    return np.asarray(np.arange(shape[-1]) < np.asarray(lengths)[..., None])


def _largest(dtype: np.dtype[np.generic]) -> int:
    return int(np.iinfo(dtype.name).max) if dtype.kind in "iu" else 2


def numpy_dtype(name: str) -> np.dtype[np.generic]:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(np.str_ if name == "string" else name)


def read_inputs(path: Path) -> dict[str, Array]:
    """Arrays by name from .npz or .safetensors; nothing in them is unpickled."""
    if not path.exists():
        raise UsageError("no-such-file", f"there is no file '{path}'", where="--inputs")
    if zipfile.is_zipfile(path):
        try:
            with np.load(path, allow_pickle=False) as data:
                return {name: _native(data[name]) for name in data.files}
        except (ValueError, OSError, EOFError) as error:
            raise UsageError("bad-inputs", f"'{path}' is no readable .npz", why=str(error)) from error
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise UsageError(
            "bad-inputs",
            f"'{path}' holds no arrays that can be read",
            why=str(error),
            hint="save them with numpy.savez(path, name=array) or safetensors",
        ) from error


def _native(array: Array) -> Array:
    """torch takes arrays in this machine's byte order only."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_inputs(inputs: Arrays, specs: Sequence[TensorSpec], where: str = "--inputs") -> dict[str, int]:
    """The sizes that the inputs have, after holding names, dtypes and shapes against the specs."""
    known = {spec.name: spec for spec in specs}
    for name in inputs:
        if name not in known:
            raise UsageError(
                "input-mismatch",
                f"the model takes no input '{name}'",
                where=where,
                why=f"it takes {', '.join(map(str, specs))}",
                hint=did_you_mean(name, known),
            )
    if missing := [name for name in known if name not in inputs]:
        raise UsageError("input-mismatch", f"the input '{missing[0]}' is missing", where=where)
    sizes: dict[str, int] = {}
    for name, array in inputs.items():
        _check_one(known[name], array, sizes, where)
    return sizes


def _check_one(spec: TensorSpec, array: Array, sizes: dict[str, int], where: str) -> None:
    if dtype_name(array.dtype) != spec.dtype:
        raise UsageError(
            "input-mismatch",
            f"input '{spec.name}' is {dtype_name(array.dtype)}, the model takes {spec.dtype}",
            where=where,
            hint=f"array.astype('{spec.dtype}')",
        )
    if array.ndim != len(spec.dims):
        raise UsageError("input-mismatch", f"input '{spec.name}' has shape {array.shape}, expected {spec}", where=where)
    for extent, size in zip(spec.dims, array.shape, strict=True):
        fits = (
            size in extent and sizes.setdefault(extent.name, size) == size
            if isinstance(extent, Dim)
            else size == extent
        )
        if not fits:
            raise UsageError(
                "input-mismatch", f"input '{spec.name}' has shape {array.shape}, expected {spec}", where=where
            )


def specs_of(inputs: Arrays) -> tuple[TensorSpec, ...]:
    """What a set of arrays says about the inputs: fixed shapes."""
    return tuple(TensorSpec(name, dtype_name(array.dtype), tuple(array.shape)) for name, array in inputs.items())
