"""CLIP: an image tower and a causal text tower that meet in a normalised similarity."""

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

# 2 is what the published checkpoints say, and means: read the sentence at its highest token id.
_END = 2


def build() -> tuple[nn.Module, list[str]]:
    """CLIP with a ViT-B/32 image tower."""
    text = CLIPTextConfig(eos_token_id=_END)
    return _clip(text, CLIPVisionConfig(), shared=512), _inputs(seq=77, size=224)


def small() -> tuple[nn.Module, list[str]]:
    text = CLIPTextConfig(
        vocab_size=1000,
        hidden_size=48,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=_END,
    )
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    return _clip(text, vision, shared=32), _inputs(seq=32, size=32)


def _inputs(seq: int, size: int) -> list[str]:
    return [
        f"input_ids:int64[texts=1..8,seq=8..{seq}]",
        f"pixel_values:float32[images=1..4,3,{size},{size}]",
        "attention_mask:int64[texts,seq]",
    ]


def _clip(text: CLIPTextConfig, vision: CLIPVisionConfig, shared: int) -> nn.Module:
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=shared)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = CLIPModel(config).eval()
        # A fresh bias is 0 and a fresh scale 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
