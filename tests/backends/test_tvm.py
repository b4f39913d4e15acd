"""TVM: the contract, and its own options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from contract import AFFINE, BackendContract, N

from compiler.errors import UsageError


class TestTvm(BackendContract):
    target = "tvm"
    runtime = "tvm"
    mistyped_option = ("thread", "threads")
    refused_dtypes = frozenset({"bfloat16", "complex64", "complex128", "string"})
    known_failures: ClassVar[Mapping[str, str]] = {}

    @pytest.mark.parametrize(
        "options",
        [{"threads": "many"}, {"threads": "-1"}, {"bind": "perhaps"}, {"mcpu": "hasswell"}, {"kernels": "slow"}],
        ids=lambda options: "=".join(*options.items()),
    )
    def test_a_value_that_makes_no_sense_is_refused(self, folder: Path, options: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught, self.opened(folder, AFFINE, N, **options):
            raise AssertionError("not reached")
        assert caught.value.code == "bad-option"


def test_the_list_of_operators_is_the_table() -> None:
    from backends.tvm.emit.table import table
    from backends.tvm.operators import EMITTED

    assert {*table(), "Constant"} == EMITTED
