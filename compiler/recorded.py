"""What a manifest says, read back. It may have been written by another version: then that is said, where it matters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compiler import terms
from compiler.bundle import Bundle, signature_from_json
from compiler.errors import CompileError
from compiler.frontend.program import InputRange
from compiler.frontend.reference import ReferencePlan
from compiler.verdicts import Terms


def agreed(bundle: Bundle, *, trust: bool) -> Terms:
    """What the artifact was held to. A bundle that says nothing was held to the budget alone."""
    if "terms" not in bundle.manifest:
        return Terms()
    with _understood(bundle, "terms"):
        return terms.from_json(bundle.manifest["terms"], trust=trust)


def plan(bundle: Bundle) -> ReferencePlan:
    """The inputs that it was checked with, to be drawn again."""
    reference = bundle.manifest["reference"]
    if reference is None:
        return ReferencePlan(bundle.artifact.signature.inputs, {})
    with _understood(bundle, "reference"):
        specs = signature_from_json({"inputs": reference["inputs"], "outputs": []}).inputs
        ranges = {name: InputRange(**fields) for name, fields in reference["ranges"].items()}
        return ReferencePlan(specs, ranges, seed=reference["seed"], effort=reference["effort"])


@contextmanager
def _understood(bundle: Bundle, part: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CompileError(
            "broken-bundle",
            f"the manifest of '{bundle.folder}' cannot be read",
            where=part,
            why=f"plumbline {bundle.manifest.get('plumbline', 'of another version')} wrote it in another way "
            f"({type(error).__name__}: {error})",
            hint="compile the model again with this version",
        ) from error
