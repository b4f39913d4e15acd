"""A function of the user's that a contract names: "file.py:name"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compiler.contracts import Array
from compiler.errors import UsageError
from compiler.frontend.loaders.factory import load_named
from compiler.frontend.user_code import user_code


def load_measure(reference: str) -> Callable[[Array, Array], Any]:
    """It is called with what came out and what was wanted, once for each case."""
    function = load_named(reference)
    if not callable(function):
        why = f"{reference} is a {type(function).__name__}"
        raise UsageError("bad-contract", "a contract's function cannot be called", where="--contract", why=why)

    def measure(got: Array, want: Array) -> Any:
        with user_code("contract-raised", f"{reference} raised", "it is called with two numpy arrays: got, want"):
            return function(got, want)

    return measure
