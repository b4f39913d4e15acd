"""The table models/zoo.toml says what is there, and what is there works."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from compiler.contracts import Dim, TensorSpec
from compiler.frontend.naming import nest
from compiler.frontend.specs import parse

ROOT = Path(__file__).resolve().parents[2]
ZOO: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "models/zoo.toml").read_text())
del ZOO["check"]  # speaks for all models
FIELDS = {
    "file", "full", "small", "inputs", "small_inputs", "family", "size", "parameters", "targets", "note", "expect",
    "small_expect",
}  # fmt: skip
OPTIONAL = {"small", "small_inputs", "note", "expect", "small_expect"}
TARGETS = {"onnxruntime", "openvino", "tensorrt", "tvm"}
FAMILIES = {"convnet", "transformer", "mixture of experts", "recurrent", "graph", "recommender", "diffusion"}

every_model = pytest.mark.parametrize("name", ZOO)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_zoo_{name}", ROOT / ZOO[name]["file"])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lightest(name: str) -> tuple[torch.nn.Module, list[str]]:
    """The small variant, or the model itself where its weights are real."""
    return getattr(load(name), ZOO[name].get("small", ZOO[name]["full"]))()


@cache
def kept(name: str) -> tuple[torch.nn.Module, list[str]]:
    """The same for tests that leave it as it is."""
    return lightest(name)


def draw(specs: tuple[TensorSpec, ...], sizes: Mapping[str, int], seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    values = {}
    for spec in specs:
        shape = spec.shape(sizes)
        if spec.name == "attention_mask":
            values[spec.name] = torch.ones(shape, dtype=torch.int64)
        elif spec.dtype == "int64":
            # No vocabulary, table or graph in the zoo is smaller than this.
            values[spec.name] = torch.randint(0, 8, shape, generator=random)
        else:
            values[spec.name] = torch.randn(shape, generator=random)
    return values


def run(model: torch.nn.Module, values: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    arguments = pytree.tree_map(lambda name: values[name], nest(list(values)))
    with torch.inference_mode():
        return pytree.tree_leaves(model(**arguments))


def ends(specs: tuple[TensorSpec, ...]) -> Iterator[dict[str, int]]:
    """All dims low, all high, and each one high alone."""
    dims: dict[str, Dim] = {dim.name: dim for spec in specs for dim in spec.dynamic}
    low = {name: dim.lo for name, dim in dims.items()}
    yield low
    yield {name: dim.hi for name, dim in dims.items()}
    for name, dim in dims.items():
        yield {**low, name: dim.hi}


def test_every_model_file_is_in_the_table() -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "models").glob("*.py") if "def build(" in path.read_text()}
    assert {entry["file"] for entry in ZOO.values()} == files


@every_model
def test_entry_is_complete(name: str) -> None:
    entry = ZOO[name]
    assert set(entry) | OPTIONAL == FIELDS
    assert set(entry["targets"]) <= TARGETS
    assert entry["family"] in FAMILIES
    millions = entry["parameters"]
    assert entry["size"] == ("small" if millions < 10 else "medium" if millions < 60 else "large")
    assert hasattr(load(name), "small") == ("small" in entry)


@every_model
def test_full_size_is_what_the_table_says(name: str) -> None:
    entry = ZOO[name]
    # Real weights have to be read or trained; for the others a build without memory tells as much.
    if "small" in entry:
        with torch.device("meta"):
            model, inputs = getattr(load(name), entry["full"])()
    else:
        model, inputs = kept(name)
    assert inputs == entry["inputs"]
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == entry["parameters"]


@every_model
def test_small_inputs_are_what_the_table_says(name: str) -> None:
    entry = ZOO[name]
    assert kept(name)[1] == entry.get("small_inputs", entry["inputs"])


@every_model
def test_two_builds_are_one_model_and_leave_the_random_state_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    first, second = kept(name)[0], lightest(name)[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not first.training
    weights, again = first.state_dict(), second.state_dict()
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


@every_model
def test_runs_at_both_ends_of_every_dim(name: str) -> None:
    model, inputs = kept(name)
    specs = parse(inputs).tensors
    for sizes in ends(specs):
        outputs = run(model, draw(specs, sizes, seed=0))
        assert outputs
        assert all(bool(torch.isfinite(output).all()) for output in outputs), sizes


@every_model
def test_every_input_has_a_say(name: str) -> None:
    """Otherwise a compile that mistook that input would look right."""
    model, inputs = kept(name)
    specs = parse(inputs).tensors
    sizes = next(ends(specs))
    values = draw(specs, sizes, seed=0)
    others = draw(specs, sizes, seed=1)
    if "attention_mask" in values:
        others["attention_mask"][:, -1] = 0
    plain = run(model, values)
    for spec in specs:
        changed = run(model, {**values, spec.name: others[spec.name]})
        shift = max(float((new - old).abs().max() / old.abs().max()) for new, old in zip(changed, plain, strict=True))
        assert shift > 1e-3, spec.name


def test_the_digits_are_learned() -> None:
    digits = load("digits_cnn")
    images, labels = digits.digits(held_out=True)
    (scores,) = run(kept("digits_cnn")[0], {"image": images})
    assert float((scores.argmax(1) == labels).float().mean()) > 0.95
