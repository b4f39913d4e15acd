"""What a user asks of the verdict: from their words to the terms, and into a bundle's manifest and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.bundle import sha256
from compiler.errors import CompileError
from compiler.verdicts import Terms


def asked(
    contract: str | Sequence[str] = (),
    atol: float | None = None,
    rtol: float | None = None,
    *,
    strict_edges: bool = False,
) -> Terms:
    """Functions of the user's that a contract names are imported for it."""
    from compiler.frontend.loaders.own_measure import load_measure
    from compiler.validate.contract import parse, tolerance

    texts = [contract] if isinstance(contract, str) else contract
    clauses = tuple(parse(text, load_measure) for text in texts)
    return Terms(clauses, tolerance("atol", atol), tolerance("rtol", rtol), strict_edges)


def to_json(terms: Terms) -> dict[str, Any]:
    """With the hash of every file of the user's that the verdict rests on."""
    return {
        "contract": [clause.text for clause in terms.contract],
        "atol": terms.atol,
        "rtol": terms.rtol,
        "strict_edges": terms.strict_edges,
        "files": {name: sha256(Path(name)) for name in _files(terms)},
    }


def _files(terms: Terms) -> list[str]:
    return [clause.measure.rpartition(":")[0] for clause in terms.contract if clause.function is not None]


def from_json(recorded: Mapping[str, Any], *, trust: bool) -> Terms:
    """The terms that a bundle was accepted on. Code that it names runs only if it is the same, and trusted."""
    for name, digest in recorded["files"].items():
        if not trust:
            raise CompileError(
                "untrusted-code",
                f"the contract of this bundle runs code: {name}",
                why="a bundle may come from anywhere, and may name any file",
                hint="--trust, if you trust its source",
            )
        if not Path(name).is_file() or sha256(Path(name)) != digest:
            raise CompileError(
                "contract-lost",
                f"the bundle is held to a function in {name}, and that file is not what it was",
                why="it was changed" if Path(name).is_file() else "it is not there",
                hint="verify in the folder that it was compiled in, or compile again",
            )
    settings = {"strict_edges": recorded["strict_edges"]}
    return asked(recorded["contract"], recorded["atol"], recorded["rtol"], **settings)
