"""The encoder of Whisper: two 1-d convolutions over a spectrogram of fixed length, then pre-norm attention."""

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def build() -> tuple[nn.Module, list[str]]:
    """The encoder of Whisper base: 30 seconds of audio."""
    return _whisper(layers=6, width=512, heads=8, frames=3000), ["input_features:float32[batch=1..4,80,3000]"]


def small() -> tuple[nn.Module, list[str]]:
    return _whisper(layers=2, width=64, heads=4, frames=100), ["input_features:float32[batch=1..4,80,100]"]


def _whisper(layers: int, width: int, heads: int, frames: int) -> nn.Module:
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        max_source_positions=frames // 2,
        init_std=width**-0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = WhisperEncoder(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
