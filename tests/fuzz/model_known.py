"""What random modules are known to show: each stands in docs/backends/known-issues.md under its heading."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from outcome import Outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backends" / "known-issues.md"


@dataclass(frozen=True)
class Known:
    target: str
    why: str  # a pattern of what the runtime says; never of a wrong number
    heading: str


KNOWN: tuple[Known, ...] = ()


def is_known(target: str, outcome: Outcome) -> bool:
    return any(each.target == target and re.search(each.why, outcome.why) for each in KNOWN)
