"""TVM's runtime without TVM's compiler.

`import tvm` takes seconds and 400 MB, and brings torch along where it is installed. A host that only runs needs the
FFI package and one shared library.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import tempfile
import threading
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


def library(file: Path) -> Any:
    """The loader knows a library by its path, and would hand out the one that lay there before. So each is loaded under
    a path of its own; one and the same file is still loaded once."""
    try:
        apart = tempfile.TemporaryDirectory()
    except OSError:
        return ffi().load_module(os.fspath(file))  # where nothing can be written, no library has taken another's place
    with apart as place:
        alias = Path(place) / file.name
        alias.symlink_to(file.resolve())
        return ffi().load_module(os.fspath(alias))


def configure(threads: int, *, bind: bool) -> int:
    """For the calling thread, as TVM keeps a pool for each thread that runs kernels; how many it really has then."""
    here = _here()
    if here.wanted != threads:  # telling it what it knows takes longer than a small model
        configure, count = _pool(max(threads, os.cpu_count() or 1), bind)
        configure(1, threads)
        here.wanted, here.found = threads, int(count())
    return here.found


class _Here(threading.local):
    """How many threads the calling thread's pool was last told to use, and has."""

    wanted = 0
    found = 0


@cache
def _here() -> _Here:
    return _Here()


@cache
def _pool(most: int, bind: bool) -> tuple[Any, Any]:
    os.environ.setdefault("TVM_BIND_THREADS", "1" if bind else "0")
    # A pool has at most this many workers, whatever it is told later; on x86 TVM takes half of the cores for one.
    os.environ.setdefault("TVM_NUM_THREADS", str(most))
    return tuple(ffi().get_global_func(f"runtime.{name}") for name in ("config_threadpool", "NumThreads"))
