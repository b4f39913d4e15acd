"""ConvNeXt: 7x7 depthwise convolutions, LayerNorm over channels, layer scale."""

import torch
from torch import nn
from transformers import ConvNextConfig, ConvNextForImageClassification


def build() -> tuple[nn.Module, list[str]]:
    """ConvNeXt tiny."""
    return _convnext(depths=[3, 3, 9, 3], widths=[96, 192, 384, 768]), ["pixel_values:float32[batch=1..8,3,224,224]"]


def small() -> tuple[nn.Module, list[str]]:
    return _convnext(depths=[2, 2], widths=[16, 32]), ["pixel_values:float32[batch=1..8,3,64,64]"]


def _convnext(depths: list[int], widths: list[int]) -> nn.Module:
    config = ConvNextConfig(
        num_stages=len(depths),
        depths=depths,
        hidden_sizes=widths,
        num_labels=1000,
        initializer_range=0.1,
        # Training starts at 1e-6, where no block has any say in the output.
        layer_scale_init_value=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = ConvNextForImageClassification(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
