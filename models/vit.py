"""ViT: an image as a sequence of patches, with a class token and pre-norm attention."""

import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification


def build() -> tuple[nn.Module, list[str]]:
    """ViT-B/16."""
    return _vit(layers=12, width=768, heads=12, size=224, patch=16), ["pixel_values:float32[batch=1..8,3,224,224]"]


def small() -> tuple[nn.Module, list[str]]:
    return _vit(layers=2, width=64, heads=4, size=32, patch=8), ["pixel_values:float32[batch=1..8,3,32,32]"]


def _vit(layers: int, width: int, heads: int, size: int, patch: int) -> nn.Module:
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=size,
        patch_size=patch,
        num_labels=1000,
        initializer_range=width**-0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = ViTForImageClassification(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
