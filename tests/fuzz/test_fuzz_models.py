"""A few random modules on every target; `make fuzz-models` tries many more."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz_models import GRAMMAR, Found, coverage, recorded, summary
from model_known import KNOWN, PAGE
from model_maker import Maker, make
from model_reduce import reduced
from model_source import Model, is_fixed

MODULES, SECONDS = 10, 20.0
# Of the seeds that a long run has been through, so that what fails here is new. To be raised with every longer run.
EXPLORED = 650
SEED = random.SystemRandom().randrange(EXPLORED - MODULES)


def test_random_modules_compute_the_same_on_every_target(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz_models.py")
    command = [sys.executable, "-W", "ignore", str(script), "-n", str(MODULES), "--seed", str(SEED)]
    command += ["--seconds", str(SECONDS), "--log", str(tmp_path / "models.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    sys.stdout.write(f"{len(recorded(tmp_path / 'models.jsonl'))} random modules from seed {SEED}\n")
    assert done.returncode == 0, f"from seed {SEED}:\n{done.stdout}\n{done.stderr[-2000:]}"
    assert recorded(tmp_path / "models.jsonl")


def test_the_same_seed_makes_the_same_module() -> None:
    assert make(7, GRAMMAR).source() == make(7, GRAMMAR).source() != make(8, GRAMMAR).source()


@pytest.mark.parametrize("seed", range(20))
def test_modules_run_and_do_something(seed: int) -> None:
    model = make(seed, GRAMMAR)
    assert model.lines and model.outputs
    inputs = [torch.from_numpy(np.ones([dim[1] for dim in value.dims], value.dtype)) for value in model.inputs]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        results = model.module()(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    for name, result in zip(model.outputs, results, strict=True):
        assert tuple(result.shape) == tuple(dim[1] for dim in model.values[name].dims)


def test_every_line_of_the_grammar_can_be_used() -> None:
    assert not [entry.name for entry in GRAMMAR if not any(Maker(seed).add(entry) for seed in range(40))]


def test_dims_are_dynamic_where_they_can_be() -> None:
    models = [make(seed, GRAMMAR) for seed in range(40)]
    dynamic = [model for model in models if any(not is_fixed(dim) for value in model.inputs for dim in value.dims)]
    assert len(dynamic) > 25


def test_a_module_is_shortened_to_the_line_that_fails() -> None:
    model = next(model for model in (make(seed, GRAMMAR) for seed in range(100)) if len(model.lines) > 4)
    culprit = model.lines[2]

    def fails(smaller: Model) -> bool:
        return any(line.expression == culprit.expression for line in smaller.lines)

    short = reduced(model, fails)
    assert fails(short)
    assert len(short.lines) < len(model.lines)
    assert short == replace(short.live())


def test_the_summary_counts_operators_with_their_overloads_together(tmp_path: Path) -> None:
    found = Found.of('{"seed": 1, "outcomes": {}, "operators": ["aten.add.Tensor", "aten.add.Scalar", "cond"]}')
    assert coverage([found]) == {"add": 2, "cond": 1}
    assert any("2 ATen operators" in line for line in summary([found]))


def test_known_issues_stand_on_their_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not [known for known in KNOWN if f"## {known.heading}\n" not in page]
