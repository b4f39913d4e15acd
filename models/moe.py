"""A mixture of experts: Mixtral whose experts run as one batched product.

Mixtral's own loop over the experts that were hit depends on the data, which no graph can hold. Here every expert
sees every token and the router's weights, zero for all but the best two, choose among the answers.
"""

import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import MixtralExperts


class DenseExperts(nn.Module):
    def __init__(self, experts: MixtralExperts) -> None:
        super().__init__()
        self.gate_up = experts.gate_up_proj
        self.down = experts.down_proj
        self.activation = experts.act_fn

    def forward(self, tokens: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        every_expert = tokens.expand(self.down.shape[0], -1, -1)
        gate, up = torch.bmm(every_expert, self.gate_up.transpose(1, 2)).chunk(2, dim=-1)
        answers = torch.bmm(self.activation(gate) * up, self.down.transpose(1, 2))
        say = tokens.new_zeros(tokens.shape[0], self.down.shape[0]).scatter(1, chosen, weights)
        return (answers * say.t().unsqueeze(-1)).sum(0)


def build() -> tuple[nn.Module, list[str]]:
    """Eight experts in each of four layers, two at work for a token."""
    return _moe(layers=4, width=256, heads=8, hidden=512, experts=8, vocabulary=16000), _inputs(seq=128)


def small() -> tuple[nn.Module, list[str]]:
    return _moe(layers=2, width=64, heads=4, hidden=96, experts=4, vocabulary=1000), _inputs(seq=64)


def _inputs(seq: int) -> list[str]:
    return [f"input_ids:int64[batch=1..4,seq=8..{seq}]"]


def _moe(layers: int, width: int, heads: int, hidden: int, experts: int, vocabulary: int) -> nn.Module:
    config = MixtralConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        intermediate_size=hidden,
        num_local_experts=experts,
        num_experts_per_tok=2,
        max_position_embeddings=2048,
        initializer_range=width**-0.5,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = MixtralForCausalLM(config).eval()
        for layer in model.model.layers:
            layer.mlp.experts = DenseExperts(layer.mlp.experts)
        # A fresh scale is 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
