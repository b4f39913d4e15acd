"""What the perplexity of a small GPT becomes with weights in few bits.

python tests/precision/gpt_perplexity.py    trains for a minute, then prints a table
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Arrays, SilentProgress
from compiler.driver import opened
from compiler.frontend.program import Request
from compiler.ir.evaluate import Evaluator
from compiler.job import Job
from compiler.precision.recipe import Name, Recipe
from compiler.precision.weights import quantize_weights

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = 8  # in one sample

PRECISIONS: tuple[Name, ...] = ("int8", "int4")
RECIPES: Mapping[str, Recipe] = {
    f"{precision} {method}": Recipe(precision, method, group_size=64)
    for precision in PRECISIONS
    for method in ("rtn", "gptq", "awq", "auto")
}


def tiny_gpt() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_gpt", ROOT / "models/tiny_gpt.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Trained:
    """The graph of a GPT that has learned something, and text that it has not seen."""

    graph: ir.Model
    learn: Windows
    judge: Windows

    @cached_property
    def expected(self) -> list[np.ndarray]:
        """What the model itself expects next, piece for piece."""
        run = Evaluator(self.graph, precise=False)
        return [_log_chances(run(sample)) for sample in self.judge]


class Windows:
    """Text in pieces, as calibration data: one sample at a time."""

    def __init__(self, data: np.ndarray, cut: Any, count: int, context: int, seed: int = 0) -> None:
        starts = np.random.default_rng(seed).integers(0, len(data) - context - 1, count * WINDOWS)
        self.pieces = [cut(data, part) for part in np.split(starts, count)]

    def __iter__(self) -> Iterator[Arrays]:
        return ({"ids": piece[:, :-1]} for piece in self.pieces)


def trained(width: int, layers: int, steps: int, batch: int, judged: int = 16) -> Trained:
    gpt = tiny_gpt()
    learn, judge = gpt.text()
    module, inputs = gpt.untrained(width, layers)
    gpt.train(module.train(), learn, steps, batch)
    job = Job(Request(module.eval()), "onnxruntime", Path("gpt"), inputs=tuple(inputs), verify=False)
    with opened(job, SilentProgress()) as front:
        graph = front.take(last=True).model
    calibration = Windows(learn, gpt.cut, 16, gpt.CONTEXT)
    return Trained(graph, calibration, Windows(judge, gpt.cut, judged, gpt.CONTEXT, seed=1))


@dataclass(frozen=True)
class Score:
    perplexity: float
    divergence: float  # mean KL, in nats, of what is expected next from what the model itself expects
    bits: float = 32  # of a weight, beside the tables


def score(model: Trained, recipe: Recipe | None) -> Score:
    """On text that neither the training nor the calibration has seen."""
    low, bits = model.graph.clone(), 32.0
    if recipe is not None:
        layers = [layer for layer in quantize_weights(low, recipe, model.learn) if layer.operator != "Gather"]
        bits = sum(layer.bits * layer.weights for layer in layers) / sum(layer.weights for layer in layers)
    run, surprise, divergence = Evaluator(low, precise=False), [], []
    for piece, sample, want in zip(model.judge.pieces, model.judge, model.expected, strict=True):
        have = _log_chances(run(sample))
        surprise.append(-np.take_along_axis(have, piece[:, 1:, None], axis=-1).mean())
        divergence.append((np.exp(want) * (want - have)).sum(axis=-1).mean())
    return Score(float(np.exp(np.mean(surprise))), float(np.mean(divergence)), bits)


def _log_chances(outputs: Arrays) -> np.ndarray:
    (logits,) = outputs.values()
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True)))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    model = trained(128, 4, 300, 16, judged=60)
    whole = score(model, None)
    say(f"float32     {whole.perplexity:8.4f}")
    for name, recipe in RECIPES.items():
        started = time.process_time()
        found = score(model, recipe)
        change, took = found.perplexity / whole.perplexity - 1, time.process_time() - started
        size = f"{found.bits:5.2f} bits, {found.bits / 32:.3f} x"
        say(f"{name:11} {found.perplexity:8.4f}  {change:+8.3%}  KL {found.divergence:.2e}  {size}  {took:.1f} s")


if __name__ == "__main__":
    main()
