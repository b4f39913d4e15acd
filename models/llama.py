"""A Llama: grouped-query attention, rotary positions, RMSNorm, gated MLP, causal and padded."""

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM


def build() -> tuple[nn.Module, list[str]]:
    """A Llama of 56 million parameters."""
    return _llama(layers=8, width=512, heads=8, kv_heads=4, hidden=1408, vocabulary=32000), _inputs(seq=128)


def small() -> tuple[nn.Module, list[str]]:
    return _llama(layers=2, width=64, heads=4, kv_heads=2, hidden=176, vocabulary=1000), _inputs(seq=64)


def _inputs(seq: int) -> list[str]:
    return [f"input_ids:int64[batch=1..4,seq=8..{seq}]", "attention_mask:int64[batch,seq]"]


def _llama(layers: int, width: int, heads: int, kv_heads: int, hidden: int, vocabulary: int) -> nn.Module:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
        max_position_embeddings=2048,
        initializer_range=width**-0.5,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
        # A fresh scale is 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
