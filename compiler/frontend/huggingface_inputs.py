"""Inputs of a Hugging Face model when the user names none: by modality and config, not by architecture.

The main input is tried first, then with what other modalities forward accepts, until the model runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from compiler.contracts import Dim, Extent, TensorSpec

if TYPE_CHECKING:
    import torch

_BATCH = Dim("batch", 1, 8)
_LONGEST = 128  # tokens; a longer range is the user's to ask for
_AUDIO_SAMPLES = 16000  # one second, as speech models take it


def suggested_specs(module: torch.nn.Module) -> tuple[TensorSpec, ...]:
    """Inputs that the model runs with; empty where none were found."""
    for specs in _candidates(module):
        if _runs(module, specs):
            return specs
    return ()


def _candidates(module: torch.nn.Module) -> Iterator[tuple[TensorSpec, ...]]:
    accepted = inspect.signature(module.forward).parameters
    known = {name: specs for name, specs in _by_name(module.config).items() if name in accepted}
    needed = [name for name in known if accepted[name].default is inspect.Parameter.empty]
    main = getattr(module, "main_input_name", "")
    first = [*needed, *([main] if main in known and main not in needed else [])]
    others = [name for name in known if name not in first]
    for chosen in (first, *([*first, other] for other in others), [*first, *others]):
        for specs in product(*(known[name] for name in known if name in chosen)):
            masked = [spec for spec in specs if spec.name == "input_ids" and "attention_mask" in accepted]
            if specs:
                yield (*specs, *(TensorSpec("attention_mask", "int64", spec.dims) for spec in masked))


def _runs(module: torch.nn.Module, specs: tuple[TensorSpec, ...]) -> bool:
    """A forward at the smallest sizes that a trace would take; the model's own errors say no."""
    import torch

    from compiler.errors import CompileError
    from compiler.frontend.arrays import to_torch
    from compiler.frontend.examples import example_inputs
    from compiler.frontend.user_code import user_code
    from compiler.quiet import quiet

    tensors = {name: to_torch(array) for name, array in example_inputs(specs).items()}
    try:
        with torch.no_grad(), quiet(), user_code("model-raised", "the model fails on suggested inputs"):
            module(**tensors)
    except CompileError:
        return False
    return True


def _by_name(config: Any) -> dict[str, tuple[TensorSpec, ...]]:
    """The inputs that models of the library share, each with the layouts in use."""
    longest = min(_of(config, "max_position_embeddings", "n_positions", "max_source_positions") or _LONGEST, _LONGEST)
    sequence = Dim("seq", min(8, longest), longest)
    side = _of(config, "image_size") or 224
    size = tuple(side) if isinstance(side, (list, tuple)) else (side, side)
    image = (_of(config, "num_channels", "in_channels", "in_chans") or 3, *size)
    width = _of(config, "hidden_size", "d_model", "n_embd") or 0
    frames = _of(config, "max_source_positions")
    bins = _of(config, "num_mel_bins", "num_mel_features", "n_mels", "input_dim", "feature_size") or 80
    steps = _of(config, "context_length", "prediction_length") or 64
    series = _of(config, "num_input_channels") or 1
    return {
        "input_ids": (_ids("input_ids", _BATCH, sequence),),
        "decoder_input_ids": (_ids("decoder_input_ids", _BATCH, replace(sequence, name="target")),),
        "inputs_embeds": (_float("inputs_embeds", _BATCH, sequence, width),),
        "hidden_states": (_float("hidden_states", _BATCH, sequence, width),),
        "pixel_values": (
            _float("pixel_values", _BATCH, *image),
            _float("pixel_values", _BATCH, _of(config, "num_frames", "frames_per_clip") or 1, *image),
        ),
        "pixel_values_videos": (_float("pixel_values_videos", _BATCH, _of(config, "frames_per_clip") or 8, *image),),
        "input_values": (
            _float("input_values", _BATCH, _AUDIO_SAMPLES),
            _float("input_values", _BATCH, 1, _AUDIO_SAMPLES),
            _float("input_values", _BATCH, *_spectrogram(config)),
        ),
        "input_features": (
            _float("input_features", _BATCH, bins, 2 * frames if frames else 3000),
            _float("input_features", _BATCH, Dim("frames", 64, 512), bins),
        ),
        "past_values": (_float("past_values", _BATCH, steps, series), _float("past_values", _BATCH, steps)),
    }


def _spectrogram(config: Any) -> tuple[int, int]:
    return _of(config, "max_length", "spec_size") or 1024, _of(config, "num_mel_bins") or 128


def _ids(name: str, *dims: Extent) -> TensorSpec:
    return TensorSpec(name, "int64", dims)


def _float(name: str, *dims: Extent) -> TensorSpec:
    return TensorSpec(name, "float32", dims)


def _of(config: Any, *names: str) -> Any:
    """The first of these fields that the config, or one of its parts, holds."""
    values = (getattr(part, name, None) for part in _parts(config) for name in names)
    return next((value for value in values if value and value != -1), None)  # -1 is how some say "no limit"


def _parts(config: Any) -> Iterator[Any]:
    yield config
    for name in ("vision_config", "text_config", "audio_config", "encoder", *getattr(config, "sub_configs", {})):
        if hasattr(part := getattr(config, name, None), "to_dict"):
            yield from _parts(part)
