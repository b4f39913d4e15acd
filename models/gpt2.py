"""GPT-2: causal pre-norm decoder whose embedding and output layer are one weight."""

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel


def build() -> tuple[nn.Module, list[str]]:
    """GPT-2 with 124 million parameters."""
    return _gpt2(layers=12, width=768, heads=12, vocabulary=50257), ["input_ids:int64[batch=1..4,seq=8..128]"]


def small() -> tuple[nn.Module, list[str]]:
    return _gpt2(layers=2, width=64, heads=4, vocabulary=1000), ["input_ids:int64[batch=1..4,seq=8..64]"]


def _gpt2(layers: int, width: int, heads: int, vocabulary: int) -> nn.Module:
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=width**-0.5,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = GPT2LMHeadModel(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
