"""What an error is counted in, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.cases import Case
from compiler.contracts import Array
from compiler.unit import Unit, unlucky
from compiler.validate.units import units


def unit(own: Array, wide: Array, kind: str = "ordinary", shaken: Array | None = None) -> Unit:
    case = Case("one", {}, {}, {"y": own}, {"y": wide}, kind=kind, shaken=None if shaken is None else {"y": shaken})
    return units([case])[kind]["y"]


def drawn(count: int = 1000) -> tuple[Array, Array]:
    wide = np.random.default_rng(0).standard_normal(count)
    return wide.astype(np.float32), wide


def test_it_is_pytorchs_own_error() -> None:
    own, wide = drawn()
    found = unit(own, wide)
    error = own.astype(np.float64) - wide
    assert found.rms == pytest.approx(max(np.sqrt(np.mean(error**2)), 0.25 * 2.0**-23 * found.scale))
    assert found.worst == np.max(np.abs(error))
    assert found.unlucky == 1.0


@pytest.mark.parametrize("count", [2, 3, 8])
def test_few_numbers_widen_it(count: int) -> None:
    assert unit(*drawn(count)).unlucky == unlucky(count) > 1


@pytest.mark.parametrize("count", [2, 3, 8])
def test_zeros_among_them_do_not_make_it_surer(count: int) -> None:
    own, wide = drawn()
    own[count:] = wide[count:] = 0.0
    assert unit(own, wide).unlucky == unlucky(count)


def test_one_number_that_is_far_off_does_not_widen_it_further() -> None:
    own, wide = drawn()
    own[5] += 1
    assert unit(own, wide).unlucky == 1.0


def test_numbers_that_hang_on_one_sum_count_as_one() -> None:
    """Forty times the same number in three cases tells as much as three numbers do."""
    rng = np.random.default_rng(0)
    cases = []
    for off in (1e-6, -2e-6, 1.5e-6):
        _, wide = drawn(40)
        own = (wide * (1 + off + 1e-8 * rng.standard_normal(40))).astype(np.float32)
        cases.append(Case("one", {}, {}, {"y": own}, {"y": wide}))
    assert unlucky(5) < units(cases)["ordinary"]["y"].unlucky <= unlucky(3)


def test_kinds_of_data_are_apart() -> None:
    own, wide = drawn()
    cases = [
        Case("one", {}, {}, {"y": own}, {"y": wide}),
        Case("two", {}, {}, {"y": own * np.float32(1e6)}, {"y": wide * 1e6}, kind="large"),
    ]
    found = units(cases)
    assert found["large"]["y"].rms > 1e5 * found["ordinary"]["y"].rms


def test_what_a_rounding_of_the_inputs_moves_counts_where_pytorch_is_right_by_accident() -> None:
    wide = np.ones(100)
    assert unit(np.ones(100, np.float32), wide, "constant", wide + 1e-3).rms == pytest.approx(1e-3)
