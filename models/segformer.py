"""SegFormer: attention whose keys are shrunk by a convolution, and a decoder that joins four scales."""

import torch
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation


def build() -> tuple[nn.Module, list[str]]:
    """SegFormer B0."""
    return _segformer(SegformerConfig(num_labels=150)), _inputs(steps="4..16")


def small() -> tuple[nn.Module, list[str]]:
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 40, 64],
        num_attention_heads=[1, 2, 2, 4],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=64,
        num_labels=10,
        initializer_range=0.1,
    )
    return _segformer(config), _inputs(steps="2..4")


def _inputs(steps: str) -> list[str]:
    return [f"pixel_values:float32[batch=1..4,3,h=32*{steps},w=32*{steps}]"]


def _segformer(config: SegformerConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = SegformerForSemanticSegmentation(config).eval()
        # Fresh biases and means are 0, scales and variances 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
