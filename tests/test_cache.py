"""The cache: found again by content, bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compiler import cache


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ROOT, str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(kind: str, content: str, size: int, used: float) -> Path:
    folder = cache.folder(kind, content)
    assert folder is not None
    (folder / "data").write_bytes(bytes(size))
    os.utime(folder / ".used", (used, used))
    return folder


def test_the_same_content_finds_the_same_folder() -> None:
    folder = cache.folder("kernels", "graph", "1.0")
    assert folder is not None
    assert cache.folder("kernels", "graph", "1.0") == folder
    others = {cache.folder("kernels", "graph", "1.1"), cache.folder("models", "graph", "1.0")}
    others |= {cache.folder("kernels", "grap", "h1.0"), cache.folder("kernels", "graph1.0")}
    assert len(others) == 4
    assert folder not in others


def test_what_was_used_least_recently_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.LIMIT, str(2500 / 2**30))
    oldest, older, newest = (made("kernels", name, 1000, used) for name, used in (("a", 1.0), ("b", 2.0), ("c", 3.0)))
    asked = cache.folder("kernels", "b")  # now the newest
    assert asked == older
    assert not oldest.exists()
    assert older.exists() and newest.exists()


def test_the_folder_that_is_asked_for_stays_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.LIMIT, "0")
    big = made("kernels", "a", 1000, 1.0)
    assert cache.folder("kernels", "a") == big
    assert (big / "data").exists()


def test_one_kind_can_be_cleared() -> None:
    kernels, models = made("kernels", "a", 1000, 1.0), made("models", "a", 500, 2.0)
    assert [entry.kind for entry in cache.entries()] == ["models", "kernels"]
    assert cache.clear("kernels") == 1000
    assert not kernels.exists() and models.exists()
    assert cache.clear() == 500
    assert cache.entries() == []


@pytest.mark.parametrize("told", ["", "off"])
def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(cache.ROOT, told)
    assert cache.folder("kernels", "a") is None
    assert cache.entries() == []


def test_a_place_that_cannot_be_written_is_no_cache(place: Path) -> None:
    place.write_text("a file where the folder should be")
    assert cache.folder("kernels", "a") is None


def test_it_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(cache.ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "plumbline"
