"""Swin: attention in windows that shift from layer to layer, with relative positions and patch merging."""

import torch
from torch import nn
from transformers import SwinConfig, SwinForImageClassification


def build() -> tuple[nn.Module, list[str]]:
    """Swin tiny. The shifted windows are laid out for one resolution, so only the batch is dynamic."""
    return _swin(width=96, depths=[2, 2, 6, 2], heads=[3, 6, 12, 24], size=224, window=7), [
        "pixel_values:float32[batch=1..8,3,224,224]"
    ]


def small() -> tuple[nn.Module, list[str]]:
    return _swin(width=32, depths=[2, 2], heads=[2, 4], size=64, window=4), ["pixel_values:float32[batch=1..8,3,64,64]"]


def _swin(width: int, depths: list[int], heads: list[int], size: int, window: int) -> nn.Module:
    config = SwinConfig(
        image_size=size,
        embed_dim=width,
        depths=depths,
        num_heads=heads,
        window_size=window,
        num_labels=1000,
        initializer_range=width**-0.5,
        # With sdpa the exporter stops at the window mask ("Cannot view a tensor").
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = SwinForImageClassification(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
