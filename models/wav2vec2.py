"""wav2vec 2.0 with its CTC head: strided convolutions over raw audio, weight-normed positions, transformer."""

import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC


def build() -> tuple[nn.Module, list[str]]:
    """wav2vec 2.0 base, on one to five seconds at 16 kHz."""
    return _wav2vec2(layers=12, width=768, heads=12, channels=512, groups=16), [
        "input_values:float32[batch=1..4,samples=320*50..250]"
    ]


def small() -> tuple[nn.Module, list[str]]:
    return _wav2vec2(layers=2, width=64, heads=4, channels=32, groups=4), [
        "input_values:float32[batch=1..4,samples=320*5..50]"
    ]


def _wav2vec2(layers: int, width: int, heads: int, channels: int, groups: int) -> nn.Module:
    config = Wav2Vec2Config(
        vocab_size=32,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        conv_dim=(channels,) * 7,
        num_conv_pos_embedding_groups=groups,
        initializer_range=width**-0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Wav2Vec2ForCTC(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
