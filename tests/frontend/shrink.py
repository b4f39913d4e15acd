"""Any transformers architecture in a few megabytes, by rules on the names of its settings and no table of models.

Widths are divided by one number, so that hidden sizes, head sizes and their products stay in step; depths and
vocabularies are cut. The largest divisor that still gives a working module is taken.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch

MAX_PARAMETERS = 30_000_000
DIVISORS = (32, 16, 8, 4, 2, 1)

_WIDTH = {
    "size", "sizes", "dim", "dims", "width", "widths", "channels", "hidden", "rank", "filters", "units", "d", "embd",
    "embed", "inner", "ffn", "dff", "planes", "features", "head", "model", "ff", "kv", "embedding", "attention",
}  # fmt: skip
_NEVER_WIDTH = {
    "image", "patch", "kernel", "vocab", "window", "stride", "type", "chunk", "block", "id", "index", "layers", "layer",
    "heads", "position", "positions", "context", "pretrain", "group", "groups", "video", "range", "rate", "hop", "fft",
}  # fmt: skip
_RARELY_WIDTH = {
    "num", "n", "max", "min", "batch", "pool", "token", "sample", "crop", "grid", "mel", "bins", "queries", "classes",
    "labels", "in", "out", "tile", "resolution", "query", "temporal", "spatial", "merge", "sampling", "frame",
}  # fmt: skip
_DEPTH = {"layers", "layer", "depth", "depths", "blocks", "stages"}
# Filled in from the depth when they are left out.
_DERIVED = {"out_features", "out_indices", "stage_names", "per_layer_config"}
_SMALL_VOCAB = 1024


def sampled_types(count: int, seed: int) -> list[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    names = sorted(CONFIG_MAPPING_NAMES)
    random.Random(seed).shuffle(names)
    return names[:count]


def architectures(model_type: str) -> list[str]:
    """Every class of the library that some Auto class maps this type to."""
    from transformers.models.auto import modeling_auto

    mappings = [value for name, value in vars(modeling_auto).items() if re.fullmatch("MODEL_.*MAPPING_NAMES", name)]
    found = [mapping[model_type] for mapping in mappings if model_type in mapping]
    flat = [name for entry in found for name in ([entry] if isinstance(entry, str) else entry)]
    return sorted({name for name in flat if name})


def tiny_model(
    model_type: str, architecture: str, runs: Callable[[torch.nn.Module], bool] = lambda _: True
) -> torch.nn.Module:
    """Randomly initialised and small; raises what transformers raises when no divisor works."""
    import transformers

    model_class = getattr(transformers, architecture)
    failure: Exception = ValueError(f"{architecture} stays above {MAX_PARAMETERS:,} parameters")
    for config in tiny_configs(model_type):
        try:
            with torch.device("meta"):
                count = sum(parameter.numel() for parameter in model_class(config).parameters())
            if count <= MAX_PARAMETERS:
                model: torch.nn.Module = model_class(config).eval()
                if runs(model):
                    return model
                failure = ValueError(f"{architecture} finds no inputs at any size")
        except (
            ValueError,
            RuntimeError,
            TypeError,
            AssertionError,
            LookupError,
            AttributeError,
            ArithmeticError,
        ) as error:
            failure = error
    raise failure


def tiny_configs(model_type: str) -> Iterator[Any]:
    """From the smallest to the original."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    default = AutoConfig.for_model(model_type)
    for rule in (_is_width, _may_be_width):
        for divisor in DIVISORS:
            try:
                yield type(default).from_dict(shrunk(default.to_dict(), divisor, rule))
            except (ValueError, TypeError, LookupError, AttributeError, StrictDataclassError):
                continue


def _is_width(name: str) -> bool:
    words = _words(name)
    return bool(words & _WIDTH) and not words & (_NEVER_WIDTH | _RARELY_WIDTH)


def _may_be_width(name: str) -> bool:
    return not _words(name) & _NEVER_WIDTH


def shrunk(settings: dict[str, Any], divisor: int, is_width: Callable[[str], bool] = _is_width) -> dict[str, Any]:
    cut = {
        value: 2
        for name, value in settings.items()
        if isinstance(value, int) and not isinstance(value, bool) and _words(name) & _DEPTH and 2 < value < 200
    }
    small: dict[str, Any] = {}
    for name, value in settings.items():
        if name in _DERIVED:
            continue
        if isinstance(value, dict):
            small[name] = shrunk(value, divisor, is_width)
        elif isinstance(value, list):
            small[name] = _shrunk_list(name, value, divisor, is_width, cut)
        elif isinstance(value, int) and not isinstance(value, bool):
            small[name] = _shrunk_number(name, value, divisor, is_width)
        else:
            small[name] = value
    return small


def _words(name: str) -> set[str]:
    return set(name.lower().split("_"))


def _shrunk_number(name: str, value: int, divisor: int, is_width: Callable[[str], bool]) -> int:
    words = _words(name)
    if "vocab" in words:
        return min(value, _SMALL_VOCAB)
    if (words & {"id", "ids"} or name.endswith("_index")) and value >= _SMALL_VOCAB:
        return value % (_SMALL_VOCAB - 8) + 7
    if "experts" in words:
        return min(value, 4)
    if words & _DEPTH and 2 < value < 200:
        return 2
    if "position" in words and "max" in words:
        return min(value, 256)
    if is_width(name) and value >= 32 and value % divisor == 0:
        return value // divisor
    return value


def _shrunk_list(
    name: str, value: list[Any], divisor: int, is_width: Callable[[str], bool], cut: dict[int, int]
) -> list[Any]:
    if len(value) in cut:
        value = [value[0], value[-1]]  # one entry per layer, and the two kinds that matter stand at the ends
    if _words(name) & _DEPTH and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return [min(item, 1) for item in value]
    if is_width(name) and all(isinstance(item, int) and item % divisor == 0 for item in value):
        return [max(item // divisor, 1) for item in value]
    return [shrunk(item, divisor, is_width) if isinstance(item, dict) else item for item in value]
