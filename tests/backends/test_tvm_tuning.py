"""TVM: schedules that are searched for, kept, and found again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import AFFINE, BackendContract, N

import backends
from backends.tvm import options as settings
from backends.tvm.lower import tuning
from compiler import cache
from compiler.contracts import Artifact
from compiler.errors import CompileError, UsageError

# In float64, for which no kernel is written by hand.
PRODUCT = "(double[64,96] x, double[96,64] w) => (double[64,64] y) { y = MatMul(x, w) }"
WITH_BIAS = "(double[64,96] x, double[96,64] w, double[64] b) => (double[64,64] y) { t = MatMul(x, w)  y = Add(t, b) }"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ROOT, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def facts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each build said of itself."""
    said: list[dict[str, Any]] = []
    backend = type(backends.get("tvm"))
    build = backend.build

    def listened(self: Any, *args: Any) -> Artifact:
        artifact = build(self, *args)
        said.append(dict(artifact.facts))
        return artifact

    monkeypatch.setattr(backend, "build", listened)
    # However short it takes on this machine; and with three trials at most.
    monkeypatch.setattr(tuning, "_WORTH", 0.0)
    monkeypatch.setattr(tuning, "_MEASURED", 1e-4)
    monkeypatch.setattr(tuning, "_TRIALS", 3)
    monkeypatch.setattr(tuning, "_BATCH", 3)
    return said


class Built:
    target = "tvm"
    opened = BackendContract.opened

    def right(self, folder: Path, **options: str) -> None:
        folder.mkdir()
        with self.opened(folder, PRODUCT, **options) as session:
            x, w = np.random.default_rng(0).standard_normal((2, 64, 96))
            np.testing.assert_allclose(session({"x": x, "w": w.T.copy()})["y"], x @ w.T, rtol=1e-12, atol=1e-12)


def trials(facts: dict[str, Any]) -> int:
    (line,) = facts["tuned"]
    return int(re.search(r"(\d+) trials", line)[1])  # type: ignore[index]


class TestTuning(Built):
    def test_what_was_found_is_kept_for_later_builds(
        self, tmp_path: Path, facts: list[dict[str, Any]], place: Path
    ) -> None:
        self.right(tmp_path / "a", tune="1m")
        self.right(tmp_path / "b", tune="1m")  # tried often enough by then
        self.right(tmp_path / "c", tune="0s")
        assert [trials(each) for each in facts] == [3, 3, 3]
        (records,) = place.glob("tvm-tuning/*/database_tuning_record.json")
        assert len(records.read_text().splitlines()) == 3

    def test_a_database_that_cannot_be_read_is_begun_anew(
        self, tmp_path: Path, facts: list[dict[str, Any]], place: Path
    ) -> None:
        self.right(tmp_path / "a", tune="1m")
        (records,) = place.glob("tvm-tuning/*/database_tuning_record.json")
        records.write_text("not a record\n")
        self.right(tmp_path / "b", tune="1m")
        assert trials(facts[1]) == 3
        assert "not a record" not in records.read_text()

    def test_without_a_cache_it_tunes_for_this_build_alone(
        self, tmp_path: Path, facts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(cache.ROOT, "off")
        self.right(tmp_path / "a", tune="1m")
        self.right(tmp_path / "b", tune="0s")
        assert facts[1]["tuned"] == ["matmul: nothing was tried"]

    def test_where_everything_has_a_schedule_it_says_so(self, tmp_path: Path, facts: list[dict[str, Any]]) -> None:
        product = PRODUCT.replace("double", "float")
        with self.opened(tmp_path, product, tune="1m"):
            assert facts[0]["tuned"][0].startswith("nothing to tune")

    def test_what_follows_a_product_makes_no_difference(self, tmp_path: Path, facts: list[dict[str, Any]]) -> None:
        with self.opened(tmp_path, WITH_BIAS, tune="0s"):
            assert facts[0]["tuned"] == ["fused_matmul_add: nothing was tried"]

    def test_a_dynamic_dim_is_left_alone(self, tmp_path: Path, facts: list[dict[str, Any]]) -> None:
        with self.opened(tmp_path, AFFINE, N, tune="1m"):
            assert any("only known when it runs" in reason for reason in facts[0]["declined"])

    def test_a_search_that_fails_altogether_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object) -> None:
            raise ValueError("no such rule")

        monkeypatch.setattr(tuning.Tuner, "_started", broken)
        with pytest.raises(CompileError) as caught:
            self.right(tmp_path / "a", tune="1m")
        assert (caught.value.code, caught.value.why) == ("tuning-failed", "matmul: no such rule")

    @pytest.mark.parametrize(
        "options", [{"tune": "long"}, {"tune": "-1s"}, {"tune": "9s", "kernels": "plain"}], ids=str
    )
    def test_what_makes_no_sense_is_refused(self, options: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught:
            settings.check(options)
        assert caught.value.code == "bad-option"


@pytest.mark.parametrize(("text", "seconds"), [("300s", 300), ("5m", 300), ("1.5", 1.5), ("0s", 0)])
def test_times(text: str, seconds: float) -> None:
    assert settings.tuning_seconds({"tune": text}) == seconds
