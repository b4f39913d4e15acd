"""What becomes of one case on one target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compiler.errors import PlumblineError

PASSED = "passed"
BUILT = "built"  # and cannot be run here
REFUSED = "refused"  # by name, before the build: nobody gets a wrong number
NOT_BUILT = "not built"  # a clear error while the runtime builds or opens it
NOT_RUN = "not run"  # an error while it runs
WRONG = "wrong"  # it runs, and the answer is another
CRASHED = "crashed"
HUNG = "hung"

GOOD = (PASSED, BUILT)


@dataclass(frozen=True)
class Outcome:
    kind: str
    why: str = ""

    @property
    def good(self) -> bool:
        return self.kind in GOOD

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def of_error(error: BaseException, stage: str, folder: Path) -> Outcome:
    """The outcome of a case that raised in the stage "lower", "build", "open" or "run"."""
    if isinstance(error, PlumblineError) and stage == "lower" and error.code == "unsupported-op":
        return Outcome(REFUSED, _line(error.why or error.message, folder))
    kind = NOT_RUN if stage == "run" else NOT_BUILT
    if isinstance(error, PlumblineError):
        return Outcome(kind, _line(f"{error.code}: {error.why or error.message}", folder))
    return Outcome(kind, _line(f"{type(error).__name__}: {error}", folder))


def _line(text: str, folder: Path, limit: int = 240) -> str:
    """On one line, and without what differs from run to run."""
    line = " ".join(text.replace(f"{folder}/", "").split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def from_json(fields: dict[str, Any]) -> Outcome:
    return Outcome(**fields)
