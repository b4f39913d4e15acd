"""TVM: code of its own for some sizes, beside the code for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import BackendContract

import compiler
from backends.tvm.session import Code, TvmSession
from compiler.contracts import Dim
from compiler.errors import UsageError

VALUES = ", ".join(map(str, range(48)))
TEXT = f"(float[n,h,6] x) => (float[n,h,8] y) <float[6,8] w = {{{VALUES}}}> {{ t = MatMul(x, w)  y = Relu(t) }}"
DIMS = Dim("n", 1, 5), Dim("h", 2, 40, 2)


class Built:
    target = "tvm"
    opened = BackendContract.opened


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which code ran, call by call."""
    names: list[str] = []
    choose: Callable[..., Code] = TvmSession._code_for

    def listened(self: TvmSession, inputs: Any) -> Code:
        code = choose(self, inputs)
        names.append("any" if code.sizes is None else "special")
        return code

    monkeypatch.setattr(TvmSession, "_code_for", listened)
    return names


class TestSpecialSizes(Built):
    @pytest.mark.parametrize(
        ("dims", "expected"),
        [
            ("n", ["special", "special", "any"]),
            ("n,h", ["special", "any", "any"]),
            ("h", ["special", "any", "special"]),
        ],
    )
    def test_the_shape_says_which_code_runs(
        self, tmp_path: Path, called: list[str], dims: str, expected: list[str]
    ) -> None:
        w = np.arange(48, dtype=np.float32).reshape(6, 8)
        with self.opened(tmp_path, TEXT, *DIMS, specialize=dims) as session:
            for n, h in ((1, 2), (1, 40), (5, 2)):
                x = np.random.default_rng(n).standard_normal((n, h, 6)).astype(np.float32)
                np.testing.assert_allclose(session({"x": x})["y"], np.maximum(x @ w, 0), rtol=1e-5, atol=1e-4)
        assert called == expected

    def test_weights_are_shared(self, tmp_path: Path) -> None:
        size = 0
        for name, options in {"plain": {}, "special": {"specialize": "n"}}.items():
            (tmp_path / name).mkdir()
            with self.opened(tmp_path / name, TEXT, *DIMS, **options):
                before, size = size, (tmp_path / name / "out" / "weights.bin").stat().st_size
        assert size == before

    def test_a_dim_that_does_not_exist_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught, self.opened(tmp_path, TEXT, *DIMS, specialize="n,hh"):
            raise AssertionError("not reached")
        assert (caught.value.code, "'h'" in str(caught.value.hint)) == ("bad-option", True)


def test_both_are_verified(mlp_file: Path, tmp_path: Path) -> None:
    """The low end is among the reference's sizes, and a bundle that is loaded again has its special code."""
    options = {"specialize": "batch"}
    result = compiler.compile(
        f"{mlp_file}:build", ["x:float32[batch=1..8,16]"], target="tvm", output=tmp_path, options=options
    )
    assert result.passed
    assert result.manifest["artifact"]["facts"]["special"]["sizes"] == {"batch": 1}
    with result.session() as session:
        assert session({"x": np.zeros((1, 16), np.float32)})["output"].shape == (1, 4)
