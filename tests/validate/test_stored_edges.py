"""Probes in a bundle: what is read back is what was written, as far as there is room."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from compiler.cases import Edge
from compiler.validate import stored_edges

EDGES = (
    Edge("NaN in x", {"x": np.array([1, np.nan], np.float32), "cache.0": np.arange(3)}, {"y": np.array([np.nan])}),
    Edge("ties", {"x": np.ones(2, ml_dtypes.bfloat16)}, {"y/z": np.zeros((0, 3), ml_dtypes.bfloat16)}),
    Edge("nothing at all in mask", {"mask": np.zeros(4, np.bool_)}, {}, "IndexError: out of range"),
)


def same(one: Edge, other: Edge) -> None:
    assert (one.name, one.raised) == (other.name, other.raised)
    for have, want in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
        assert list(have) == list(want)
        for name, array in want.items():
            assert have[name].dtype == array.dtype
            np.testing.assert_array_equal(have[name], array)


def test_probes_come_back_in_full(tmp_path: Path) -> None:
    stored_edges.write(EDGES, tmp_path)
    edges, notes = stored_edges.read(tmp_path)
    assert not notes
    for have, want in zip(edges, EDGES, strict=True):
        same(have, want)


def test_no_probes_are_no_probes(tmp_path: Path) -> None:
    stored_edges.write((), tmp_path)
    assert stored_edges.read(tmp_path) == ((), ())


def test_what_does_not_fit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_edges, "LIMIT", 10)
    stored_edges.write(EDGES, tmp_path)
    edges, notes = stored_edges.read(tmp_path)
    assert [edge.name for edge in edges] == ["ties", "nothing at all in mask"]
    assert notes == ("not repeated, because a bundle has no room for them: 1 of the probes",)


def test_an_earlier_bundle_says_that_it_has_none(tmp_path: Path) -> None:
    edges, notes = stored_edges.read(tmp_path)
    assert not edges and "keeps no probes" in notes[0]
