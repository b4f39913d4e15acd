"""A model that knows something loses next to nothing of it: a small GPT, trained here for some seconds."""

from __future__ import annotations

import pytest
from gpt_perplexity import RECIPES, Score, Trained, score, trained


@pytest.fixture(scope="module")
def gpt() -> Trained:
    return trained(width=64, layers=2, steps=120, batch=8)


@pytest.fixture(scope="module")
def scores(gpt: Trained) -> dict[str, Score]:
    recipes = {name: recipe for name, recipe in RECIPES.items() if name not in ("int8 rtn", "int8 awq")}
    return {name: score(gpt, recipe) for name, recipe in {"float32": None, **recipes}.items()}


def test_it_has_learned_something(scores: dict[str, Score]) -> None:
    assert scores["float32"].perplexity < 20  # of 256 bytes


@pytest.mark.parametrize("method", ["gptq", "awq", "auto"])
def test_samples_make_four_bits_better_than_the_nearest(scores: dict[str, Score], method: str) -> None:
    assert scores[f"int4 {method}"].divergence < 0.9 * scores["int4 rtn"].divergence


@pytest.mark.parametrize("precision,limit,size", [("int8", 1.01, 0.27), ("int4", 1.03, 0.17)])
def test_perplexity_and_size(scores: dict[str, Score], precision: str, limit: float, size: float) -> None:
    assert scores[f"{precision} gptq"].perplexity < limit * scores["float32"].perplexity
    assert scores[f"{precision} auto"].bits < 32 * size
