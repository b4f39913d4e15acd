"""The optimizer finds every attention, norm, rotation and activation of the zoo's models, whatever route they came by.

models/zoo.toml says how many there are, counted from each model's config. `make check` holds the default export to it,
with the attention that a model chooses itself; here is what else a user may come with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_zoo import ZOO, draw, ends, lightest
from transformers import PreTrainedModel

from compiler import driver
from compiler.contracts import PassPlan
from compiler.frontend.naming import nest
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.specs import parse
from compiler.quiet import quiet

EXPECTING = [name for name, entry in ZOO.items() if "expect" in entry]

# Whose sdpa is the default; the others are eager by themselves, or have no attention of transformers' own.
WITH_A_CHOICE = ["vit", "bert", "minilm", "segformer", "gpt2", "llama", "moe", "whisper_encoder", "wav2vec2", "clip"]

# What the TorchScript exporter cannot write at all.
_NOT_SCRIPTED = {"gpt2": "it has no aten::diff", "moe": "it has no aten::diff"}
# What it writes, and the optimizer does not read in full.
_NOT_READ = {"diffusion_unet": "the sizes behind its strided convolutions and its Resize are not worked out"}
SCRIPTED = [name for name in EXPECTING if name not in {**_NOT_SCRIPTED, **_NOT_READ}]


def expected(name: str) -> dict[str, int]:
    found: dict[str, int] = ZOO[name].get("small_expect", ZOO[name]["expect"])
    return found


def _choose_eager(model: torch.nn.Module) -> None:
    """In every part that is a model of transformers."""
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation("eager")


def optimized(model: Any, inputs: list[str], expect: dict[str, int]) -> None:
    """Raises where the graph holds other numbers, and says why."""
    program = open_program(Request(model))
    plan = trace(program, inputs, None, seed=0, effort="quick")
    driver.optimize(driver.capture(program, plan), PassPlan(expect=expect))


@pytest.mark.parametrize("name", WITH_A_CHOICE)
def test_from_eager_attention(name: str) -> None:
    model, inputs = lightest(name)
    _choose_eager(model)
    optimized(model, inputs, expected(name))


@pytest.mark.parametrize("opset", [13, 14, 20])
@pytest.mark.parametrize("name", SCRIPTED)
def test_from_an_onnx_file_of_the_older_exporter(name: str, opset: int, tmp_path: Path) -> None:
    """With eager attention, where there is a choice."""
    model, inputs = lightest(name)
    _choose_eager(model)
    specs = parse(inputs).tensors
    values = draw(specs, list(ends(specs))[1], seed=0)
    names = list(values)
    file = tmp_path / "model.onnx"
    with quiet(), torch.no_grad():
        torch.onnx.export(
            _ByPosition(model, names),
            tuple(values.values()),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=names,
            dynamic_axes={
                spec.name: {axis: dim.name for axis, dim in enumerate(spec.dims) if dim in spec.dynamic}
                for spec in specs
            },
        )
    optimized(file, inputs, expected(name))


class _ByPosition(torch.nn.Module):
    """The older exporter takes no names."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *values: torch.Tensor) -> Any:
        by_name = dict(zip(self.names, values, strict=True))
        return self.model(**{key: by_name[key] for key in nest(self.names)})
