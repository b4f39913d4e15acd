"""Calibration data comes from many places, is cut to what the model takes, and split in two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compiler.contracts import Arrays, Dim, TensorSpec
from compiler.errors import CompileError, UsageError
from compiler.frontend.calibration import BATCH, MOST_JUDGED, read_calibration

BATCHED = (TensorSpec("x", "float32", (Dim("batch", 1, 32), 3)),)
FIXED = (TensorSpec("x", "float32", (2, 3)),)


def rows(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, *(shape or (3,)))).astype(np.float32)


def test_a_file_is_cut_to_batches_and_a_quarter_is_held_back(tmp_path: Path) -> None:
    data = rows(8 * BATCH)
    np.savez(tmp_path / "data.npz", x=data)
    found = read_calibration(tmp_path / "data.npz", BATCHED)
    measured = [arrays["x"] for arrays in found.samples]
    assert [len(each) for each in measured] == [BATCH] * 6
    assert list(found.judged) == ["calibration data, batch 4", "calibration data, batch 8"]
    together = np.concatenate([*measured, *(arrays["x"] for arrays in found.judged.values())])
    assert sorted(map(tuple, together)) == sorted(map(tuple, data)), "every row is in one of the two, and once"


def test_samples_can_be_read_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=rows(20))
    samples = read_calibration(tmp_path / "data.npz", BATCHED).samples
    once, again = (np.concatenate([arrays["x"] for arrays in samples]) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_fixed_sizes_take_whole_batches_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=rows(9))
    found = read_calibration(tmp_path / "data.npz", FIXED)
    assert all(arrays["x"].shape == (2, 3) for arrays in (*found.samples, *found.judged.values()))
    assert len(list(found.samples)) + len(found.judged) == 4


def test_an_axis_more_is_a_stack_of_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=rows(5, 2, 3))
    found = read_calibration(tmp_path / "data.npz", FIXED)
    assert len(list(found.samples)) == 4
    assert [arrays["x"].shape for arrays in found.samples] == [(2, 3)] * 4


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for number in range(6):
        np.savez(tmp_path / f"{number}.npz", x=rows(2))
    (tmp_path / "README").write_text("no data")
    found = read_calibration(tmp_path, FIXED)
    assert len(list(found.samples)) == 5
    assert len(found.judged) == 1


def test_an_iterable_that_gives_its_samples_once_is_kept() -> None:
    def once() -> Iterator[Arrays]:
        for _ in range(3):
            yield {"x": rows(2)}

    found = read_calibration(once(), FIXED)
    assert [len(list(found.samples)) for _ in range(2)] == [2, 2]


def test_a_function_of_the_users_is_called(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\ndef samples():\n    return [{'x': np.ones((2, 3), np.float32) * k} for k in range(4)]\n"
    )
    assert len(list(read_calibration(f"{tmp_path}/data.py:samples", FIXED).samples)) == 3


def test_no_more_is_held_back_than_pytorch_has_time_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=rows(100, 2, 3))
    found = read_calibration(tmp_path / "data.npz", FIXED)
    assert len(found.judged) == MOST_JUDGED
    assert len(list(found.samples)) == 75


def test_few_samples_and_constant_ones_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((2, 3), np.float32))
    notes = " ".join(read_calibration(tmp_path / "data.npz", FIXED).notes)
    assert "one batch" in notes
    assert "2 rows of calibration data are few" in notes
    assert "'x' is 1 throughout" in notes


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": rows(4)}, "takes no input 'y'"),
        ({"x": rows(4).astype(np.float64)}, "is float64"),
        ({"x": rows(4, 5)}, "has shape"),
        ({"x": rows(1)}, "has shape"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arrays: Arrays, said: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        read_calibration(tmp_path / "data.npz", FIXED)
    assert said in caught.value.message
    assert caught.value.where == "--calibration"


def test_a_folder_without_data_and_an_iterable_without_samples_are_refused(tmp_path: Path) -> None:
    for empty in (tmp_path, []):
        with pytest.raises(UsageError, match="there is no calibration data"):
            read_calibration(empty, FIXED)


def test_an_iterable_that_raises_is_told_with_its_line() -> None:
    def broken() -> Iterator[Arrays]:
        yield {"x": rows(2)}
        raise RuntimeError("disk on fire")

    with pytest.raises(CompileError) as caught:
        read_calibration(broken, FIXED)
    assert caught.value.code == "calibration-raised"
    assert "disk on fire" in str(caught.value.why)
