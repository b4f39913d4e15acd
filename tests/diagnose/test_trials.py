"""A few of the trials: `make bisect-trials` runs as many as one likes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "passes"))

from trials import KINDS, trial


@pytest.mark.parametrize("seed", range(2 * len(KINDS) + 2))
def test_a_fault_is_found_where_it_was_planted(seed: int, tmp_path: Path) -> None:
    outcome = trial(seed, tmp_path, zoo=False)
    assert outcome.right, f"{outcome.kind} {outcome.planted} in {outcome.source} -> {outcome.told}"
