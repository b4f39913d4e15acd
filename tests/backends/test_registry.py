"""The table of targets, and what third parties add to it."""

from __future__ import annotations

from pathlib import Path

import pytest

import backends
from backends import registry
from compiler.contracts import Ready, Unavailable
from compiler.errors import InternalError, UnavailableError, UsageError


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, line: str) -> None:
    """Put a distribution with one entry point on the path."""
    info = folder / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\n{line}\n")
    monkeypatch.syspath_prepend(folder)
    registry._table.cache_clear()


@pytest.fixture(autouse=True)
def fresh_table() -> object:
    yield registry._table.cache_clear()
    registry._table.cache_clear()


@pytest.mark.parametrize("name", registry.TARGETS)
def test_every_target_is_what_its_name_says_and_its_probe_answers(name: str) -> None:
    backend = backends.get(name)
    assert backend.name == name
    assert isinstance(backend.probe(), (Ready, Unavailable))


def test_targets_of_others_come_after_ours(third_party: None) -> None:
    names = backends.names()
    assert names[: len(registry.TARGETS)] == tuple(registry.TARGETS)
    assert "crashing" in names


@pytest.mark.parametrize("name", ["onnxruntime", "onnx"])
def test_a_name_that_is_taken_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    install(monkeypatch, tmp_path, f"{name} = stranger:Backend")
    with pytest.raises(UsageError) as caught:
        backends.names()
    assert caught.value.code == "duplicate-target"
    assert "stranger:Backend" in str(caught.value.why)


@pytest.mark.parametrize(
    ("typed", "hint"), [("onnxruntme", "did you mean 'onnxruntime'?"), ("onx", "did you mean 'onnx'?")]
)
def test_a_mistyped_target_gets_a_suggestion(typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        backends.get(typed)
    assert (caught.value.code, caught.value.hint, caught.value.exit_code) == ("unknown-target", hint, 2)


def test_an_unheard_of_target_gets_the_list() -> None:
    with pytest.raises(UsageError, match="no target 'zzz'") as caught:
        backends.get("zzz")
    assert "onnxruntime, openvino, tensorrt, tvm, onnx" in str(caught.value.hint)


def test_a_backend_under_another_name_than_its_own_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "alias = backends.onnxruntime.backend:OnnxRuntime")
    with pytest.raises(InternalError, match="calls itself 'onnxruntime'"):
        backends.get("alias")


@pytest.mark.parametrize("place", ["nowhere_to_be_found:Backend", "backends.registry:NoSuchClass"])
def test_an_entry_point_that_cannot_be_imported_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    install(monkeypatch, tmp_path, f"broken = {place}")
    assert "broken" in backends.names()
    with pytest.raises(UnavailableError) as caught:
        backends.get("broken")
    assert (caught.value.code, caught.value.where, caught.value.exit_code) == ("broken-target", place, 4)
    assert isinstance(registry.probe("broken"), Unavailable)
