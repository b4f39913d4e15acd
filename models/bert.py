"""BERT with its pooler: post-norm encoder, padding mask, learned positions."""

import torch
from torch import nn
from transformers import BertConfig, BertModel


def build() -> tuple[nn.Module, list[str]]:
    """BERT base."""
    return _bert(layers=12, width=768, heads=12, vocabulary=30522), _inputs(seq=256)


def small() -> tuple[nn.Module, list[str]]:
    return _bert(layers=2, width=64, heads=4, vocabulary=1000), _inputs(seq=64)


def _inputs(seq: int) -> list[str]:
    return [f"input_ids:int64[batch=1..8,seq=8..{seq}]", "attention_mask:int64[batch,seq]"]


def _bert(layers: int, width: int, heads: int, vocabulary: int) -> nn.Module:
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        initializer_range=width**-0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = BertModel(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
