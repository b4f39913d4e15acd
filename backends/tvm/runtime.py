"""TVM's runtime without TVM's compiler.

`import tvm` takes seconds and 400 MB, and brings torch along where it is installed. A host that only runs needs the
FFI package and one shared library.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

# `extra` holds what sorting kernels call.
_LIBRARIES = ("libtvm_runtime.so", "libtvm_runtime_extra.so")


@cache
def ffi() -> Any:
    """The module `tvm_ffi`, with TVM's runtime registered in it."""
    with _no_torch():
        import tvm_ffi
    for name in _LIBRARIES:
        ctypes.CDLL(str(folder() / "lib" / name), ctypes.RTLD_GLOBAL)
    return tvm_ffi


def folder() -> Path:
    """Where TVM is installed."""
    found = importlib.util.find_spec("tvm")
    if found is None or not found.submodule_search_locations:
        raise ImportError("apache-tvm is not installed")
    return Path(found.submodule_search_locations[0])


@contextmanager
def _no_torch() -> Iterator[None]:
    """tvm_ffi imports torch if it can, 2 s for nothing; one that is loaded already is left alone."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def configure(threads: int, *, bind: bool) -> None:
    """For the calling thread: TVM keeps a pool of its own for each thread that runs kernels."""
    os.environ.setdefault("TVM_BIND_THREADS", "1" if bind else "0")
    ffi().get_global_func("runtime.config_threadpool")(1, threads)
