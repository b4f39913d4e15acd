"""Inputs of a Hugging Face model, from its config: by modality, not by architecture."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from compiler.contracts import Dim, Extent, TensorSpec

if TYPE_CHECKING:
    import torch

_BATCH = Dim("batch", 1, 8)
_LONGEST = 128  # tokens; a longer range is the user's to ask for
_AUDIO_SAMPLES = 16000  # one second, as speech models take it


def default_specs(module: torch.nn.Module) -> tuple[TensorSpec, ...]:
    """The model's main input at usual sizes; empty where the config does not tell."""
    config: Any = module.config
    main = getattr(module, "main_input_name", "")
    accepted = inspect.signature(module.forward).parameters
    if main == "input_ids":
        longest = min(
            _of(config, "max_position_embeddings", "n_positions", "max_source_positions") or _LONGEST, _LONGEST
        )
        seq = Dim("seq", min(8, longest), longest)
        names = ["input_ids", *(["attention_mask"] if "attention_mask" in accepted else [])]
        specs = [TensorSpec(name, "int64", (_BATCH, seq)) for name in names]
        if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
            target = Dim("target", min(8, longest), longest)
            specs.append(TensorSpec("decoder_input_ids", "int64", (_BATCH, target)))
        return tuple(specs)
    if main == "pixel_values":
        side = _of(config, "image_size")
        channels = _of(config, "num_channels") or 3
        height, width = side if isinstance(side, (list, tuple)) else (side or 224, side or 224)
        return (_float(main, _BATCH, channels, height, width),)
    if main == "input_values":
        return (_float(main, _BATCH, _AUDIO_SAMPLES),)
    if main == "input_features":
        frames = _of(config, "max_source_positions")
        return (_float(main, _BATCH, _of(config, "num_mel_bins") or 80, 2 * frames if frames else 3000),)
    return ()


def _float(name: str, *dims: Extent) -> TensorSpec:
    return TensorSpec(name, "float32", dims)


def _of(config: Any, *names: str) -> Any:
    """The first of these fields that the config, or one of its parts, holds."""
    for part in (config, *(getattr(config, name, None) for name in ("vision_config", "text_config", "encoder"))):
        for name in names:
            value = getattr(part, name, None)
            if value:
                return value
    return None
