"""What every input format is turned into, and what a request for one holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compiler.cases import Decision, Scores
from compiler.contracts import Array, Arrays, Inside, Source, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Request:
    """What the user handed over.

    `model` is a path, a "file.py:factory" / "package.module:factory" reference, or (through the Python API) a
    live nn.Module or ExportedProgram. `factory` is `--model`: what builds the module that a state dict fills.
    """

    model: Any
    factory: str | None = None
    trust: bool = False
    translate: Any = None  # --translate: "file.py:TABLE", or the table itself

    @property
    def path(self) -> Path:
        return Path(self.model)

    @property
    def label(self) -> str:
        return os.fspath(self.model) if isinstance(self.model, (str, os.PathLike)) else f"a {type(self.model).__name__}"


@dataclass(frozen=True)
class Parameter:
    """One argument of the model's forward, for the message that lists what it takes."""

    name: str
    required: bool
    annotation: str = ""

    @property
    def is_scalar(self) -> bool:
        """A Python number or word, given as name=VALUE."""
        return self.annotation in ("int", "float", "bool", "str")

    def __str__(self) -> str:
        return f"{self.name}{': ' + self.annotation if self.annotation else ''}{'' if self.required else ' (optional)'}"


@dataclass(frozen=True)
class InputRange:
    """What the graph says about an input's values: lo <= x < hi (None: no bound; a name: the size of that dim)."""

    lo: int | None = None
    hi: int | str | None = None
    why: str = ""
    rising: bool = False  # each is at least the one before, and the first is 0
    noise: bool = False  # drawn by the program itself, until it was made an input: always as it draws it


Pins = Mapping[tuple[str, int], tuple[float, ...]]  # what must be decided: at which site, in which row
NO_PINS: Pins = {}


@dataclass(frozen=True)
class Answers:
    outputs: dict[str, Array]
    oracle: dict[str, Array]
    shaken: dict[str, Array] | None = None  # the oracle's on inputs that are off by a rounding
    close: tuple[Decision, ...] = ()
    unlisted: int = 0


class Program(Protocol):
    """A model that can be asked what it takes, run, and captured as a graph.

    Inputs and outputs are flat and named here: nested arguments appear as "cache.0.key". The order of calls is
    `trace` once, then `ranges`, `run` and `capture` in any order.
    """

    @property
    def source(self) -> Source: ...

    def parameters(self) -> tuple[Parameter, ...]:
        """What forward takes, as far as the format tells."""
        ...

    def declared(self) -> tuple[TensorSpec, ...]:
        """Input specs that the file itself states; empty when it has none."""
        ...

    def suggested(self) -> tuple[TensorSpec, ...]:
        """Input specs that are likely to do, for when neither the user nor the file states any."""
        ...

    def examples(self) -> Arrays:
        """Example inputs that the file itself holds; empty when it has none."""
        ...

    def trace(self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]) -> None:
        """Fix the inputs the program is captured with. `constants` are Python scalars bound by name."""
        ...

    def lift_random(
        self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]
    ) -> tuple[TensorSpec, ...]:
        """Before `trace`: what the program draws at random becomes inputs of it; the specs of those."""
        ...

    def ranges(self) -> Mapping[str, InputRange]:
        """Which values make sense for each input, read off the traced program."""
        ...

    def run(self, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        """The reference answer; `precise` raises every float operation to float64."""
        ...

    def answers(self, inputs: Arrays, *, shaken: Arrays | None = None, pins: Pins = NO_PINS) -> Answers:
        """The reference answers. In float64 what is decided within rounding is decided as it was without."""
        ...

    def decides(self) -> bool:
        """Whether something on the way may be decided otherwise by rounding, as far as can be told."""
        ...

    def loops_on_data(self) -> bool:
        """Whether some data could keep it busy for ever."""
        ...

    def scores(self, inputs: Arrays, oracle: Arrays) -> Mapping[str, Scores]:
        """For each output that is an index by value, what it was chosen from; `oracle` is the precise answer."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What the runs so far have shown and the user should know."""
        ...

    def capture(self, opset: int) -> ir.Model:
        """The graph in the hub dialect, its inputs and outputs under their final names."""
        ...

    def inside(self) -> Inside | None:
        """After `capture`: its own values in the midst; None where they cannot be had under the graph's names."""
        ...
