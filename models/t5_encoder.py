"""The encoder of T5: bucketed relative positions, RMSNorm, unscaled attention without biases."""

import torch
from torch import nn
from transformers import T5Config, T5EncoderModel


def build() -> tuple[nn.Module, list[str]]:
    """The encoder of T5 small."""
    return _t5(layers=6, width=512, heads=8, vocabulary=32128), _inputs(seq=256)


def small() -> tuple[nn.Module, list[str]]:
    return _t5(layers=2, width=64, heads=4, vocabulary=1000), _inputs(seq=64)


def _inputs(seq: int) -> list[str]:
    return [f"input_ids:int64[batch=1..8,seq=8..{seq}]", "attention_mask:int64[batch,seq]"]


def _t5(layers: int, width: int, heads: int, vocabulary: int) -> nn.Module:
    config = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=width // heads,
        d_ff=4 * width,
        num_layers=layers,
        num_heads=heads,
        use_cache=False,
        # With sdpa the exporter stops at the position bias ("Cannot view a tensor").
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = T5EncoderModel(config).eval()
        # A fresh scale is 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
