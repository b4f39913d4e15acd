"""The grammar's arithmetic: element by element, reductions, comparisons, types, products of matrices.

What has a jump (rounding, comparing, counting) is made of exact numbers only: a runtime that is off by a rounding would
give quite another answer there, and be right.
"""

from __future__ import annotations

from model_maker import Entry, templates

# Arguments are kept where the function is tame: no poles, no large exponents.
ELEMENTWISE = templates(
    """
    torch.abs({x})
    torch.neg({x})
    torch.square({x})
    torch.relu({x})
    torch.sigmoid({x})
    torch.tanh({x})
    torch.sin({x})
    torch.cos({x})
    torch.tan(torch.tanh({x}))
    torch.asin(torch.tanh({x}) * 0.9)
    torch.acos(torch.tanh({x}) * 0.9)
    torch.atan({x})
    torch.sinh(torch.tanh({x}))
    torch.cosh(torch.tanh({x}))
    torch.asinh({x})
    torch.acosh(torch.abs({x}) + 1.5)
    torch.atanh(torch.tanh({x}) * 0.9)
    torch.exp(torch.clamp({x}, -4, 4))
    torch.exp2(torch.clamp({x}, -4, 4))
    torch.expm1(torch.clamp({x}, -4, 4))
    torch.log(torch.abs({x}) + 0.5)
    torch.log1p(torch.abs({x}))
    torch.log2(torch.abs({x}) + 0.5)
    torch.log10(torch.abs({x}) + 0.5)
    torch.sqrt(torch.abs({x}) + 0.1)
    torch.rsqrt(torch.abs({x}) + 0.5)
    torch.reciprocal(torch.abs({x}) + 0.5)
    torch.erf({x})
    torch.erfc({x})
    torch.deg2rad({x})
    torch.rad2deg({x})
    torch.logit(torch.sigmoid({x}))
    torch.nan_to_num({x})
    torch.pow({x}, 2)
    torch.pow({x}, 3)
    torch.pow(torch.abs({x}) + 0.5, {number})
    torch.pow({positive}, torch.clamp({x}, -3, 3))
    torch.clamp({x}, -{positive_1}, {positive_2})
    torch.clamp({x}, min={number})
    torch.clamp_min({x}, {number})
    torch.clamp_max({x}, {number})
    torch.frac({exact})
    torch.floor({exact})
    torch.ceil({exact})
    torch.round({exact})
    torch.trunc({exact})
    torch.sign({exact})
    {x} + {number}
    {x} * {number}
    {number} - {x}
    {x} / {positive}
    {x}.clone().add_({number})
    {x}.clone().mul_({number})
    """,
    weight=2,
)

ACTIVATIONS = templates(
    """
    F.gelu({x})
    F.gelu({x}, approximate="tanh")
    F.silu({x})
    F.mish({x})
    F.elu({x})
    F.elu({x}, alpha={positive})
    F.selu({x})
    F.celu({x}, alpha={positive})
    F.relu6({x})
    F.leaky_relu({x}, {positive})
    F.softplus({x})
    F.softplus({x}, beta={positive})
    F.softsign({x})
    F.hardtanh({x})
    F.hardsigmoid({x})
    F.hardswish({x})
    F.tanhshrink({x})
    F.softshrink({x})
    F.logsigmoid({x})
    F.hardshrink({exact})
    F.threshold({exact}, 0.1, {number})
    F.prelu({signal}, {channel})
    F.glu(torch.cat([{x}, {x} * 0.5], -1), -1)
    F.softmax({x}, {axis})
    F.log_softmax({x}, {axis})
    F.softmin({x}, {axis})
    F.normalize({x}, dim={axis})
    """,
    weight=2,
)

PAIRS = templates(
    """
    {x} + {y}
    {x} - {y}
    {x} * {y}
    {x} / (torch.abs({y}) + 0.5)
    torch.add({x}, {y}, alpha={number})
    torch.sub({x}, {y}, alpha={number})
    torch.rsub({x}, {y})
    torch.maximum({x}, {y})
    torch.minimum({x}, {y})
    torch.fmax({x}, {y})
    torch.fmin({x}, {y})
    torch.max({x}, {y})
    torch.atan2({x}, torch.abs({y}) + 0.5)
    torch.hypot({x}, torch.abs({y}) + 0.5)
    torch.pow(torch.abs({x}) + 0.5, torch.tanh({y}))
    torch.logaddexp({x}, {y})
    torch.xlogy({x}, torch.abs({y}) + 0.5)
    torch.copysign({x}, {exactly})
    torch.lerp({x}, {y}, {positive})
    torch.addcmul({x}, {y_1}, {y_2}, value={number})
    torch.addcdiv({x}, {y_1}, torch.abs({y_2}) + 0.5, value={number})
    torch.fmod({exact}, {positive})
    torch.remainder({exact}, {positive})
    torch.div({exact}, {positive}, rounding_mode="floor")
    torch.div({exact}, {positive}, rounding_mode="trunc")
    torch.floor_divide({exact}, {positive})
    torch.where({exact} > {number}, {exact}, {y})
    torch.where({exact} > {exactly}, {y_1}, {y_2})
    torch.masked_fill({x}, {mask}, {number})
    F.mse_loss({x}, {x} * 0.5)
    F.smooth_l1_loss({x}, {x} * 0.5)
    F.huber_loss({x}, {x} * 0.5, reduction="none")
    F.l1_loss({x}, {x} * 0.5, reduction="sum")
    F.binary_cross_entropy_with_logits({x}, torch.sigmoid({x} * 0.5))
    F.cosine_similarity({x}, {x} * 0.5 + 1, dim={axis})
    F.pairwise_distance({rows}, {rows} * 0.5 + 1)
    """,
    weight=2,
)

REDUCTIONS = templates(
    """
    torch.sum({x})
    torch.sum({x}, {axis}, keepdim={keep})
    torch.sum({x}, {axes}, keepdim={keep})
    torch.mean({x})
    torch.mean({x}, {axis}, keepdim={keep})
    torch.mean({x}, {axes}, keepdim={keep})
    torch.prod(torch.tanh({x}) + 1, {axis}, keepdim={keep})
    torch.amax({x}, {axis}, keepdim={keep})
    torch.amin({x}, {axes}, keepdim={keep})
    torch.max({x})
    torch.min({x})
    torch.max({x}, {axis}, keepdim={keep})[0]
    torch.min({x}, {axis}, keepdim={keep})[0]
    torch.max({drawn}, {axis})
    torch.min({drawn}, {axis}, keepdim={keep})
    torch.aminmax({x}, dim={axis}, keepdim={keep})
    torch.logsumexp({x}, {axis}, keepdim={keep})
    torch.std({x}, {axis}, keepdim={keep})
    torch.std({x}, {axis}, unbiased=False, keepdim={keep})
    torch.var({x}, {axis}, keepdim={keep})
    torch.var({x}, {axis}, correction=0, keepdim={keep})
    torch.std_mean({x}, {axis}, unbiased=False)
    torch.var_mean({x}, {axis}, unbiased=False, keepdim={keep})
    torch.norm({x}, dim={axis}, keepdim={keep})
    torch.linalg.vector_norm({x} + 0.1, 2, {axis}, {keep})
    torch.linalg.vector_norm({x}, 1, {axis}, {keep})
    torch.linalg.vector_norm({x}, float("inf"), {axis})
    torch.cumsum({x}, {axis})
    torch.cumprod(torch.tanh({x}) + 1, {axis})
    torch.cummax({x}, {axis})[0]
    torch.cummin({x}, {axis})[0]
    torch.logcumsumexp({x}, {axis})
    torch.nansum({x}, {axis})
    torch.nanmean({x}, {axis})
    torch.trapezoid({x}, dim={axis})
    torch.diff({x}, dim={axis})
    torch.argmax({drawn}, {axis}, keepdim={keep})
    torch.argmin({drawn}, {axis}, keepdim={keep})
    torch.argmax({drawn})
    torch.topk({drawn}, 1, dim={axis})
    torch.topk({x}, 1, dim={axis}, largest={flag})[0]
    torch.sort({drawn}, dim={axis}, descending={flag})
    torch.sort({x}, dim={axis}, descending={flag})[0]
    torch.argsort({drawn}, dim={axis})
    torch.median({drawn}, {axis})[0]
    torch.kthvalue({drawn}, 1, dim={axis})[0]
    """,
    weight=2,
)

TRUTH = templates("""
    {exact} > {exactly}
    {exact} < {number}
    {exact} >= {exactly}
    {exact} <= {number}
    {exact} == {exactly}
    {exact} != {exactly}
    {i} > {j}
    {i} == {j}
    {i} != 1
    torch.logical_and({b}, {c})
    torch.logical_or({b}, {c})
    torch.logical_xor({b}, {c})
    torch.logical_not({b})
    torch.bitwise_and({b}, {c})
    torch.bitwise_or({b}, {c})
    torch.bitwise_not({b})
    {b} ^ {c}
    torch.any({b})
    torch.any({b}, {axis}, keepdim={keep})
    torch.all({b})
    torch.all({b}, {axis}, keepdim={keep})
    torch.isnan({x})
    torch.isinf({x})
    torch.isfinite({x})
    torch.signbit({exact})
    torch.count_nonzero({b}, {axis})
    torch.isin({i}, torch.tensor([0, 2, 3]))
    torch.isclose({exact}, {exactly})
""")

WHOLE_NUMBERS = templates("""
    {i} + {j}
    {i} - {j}
    {i} * {j}
    {i} * {few} + 1
    {i} // {few}
    {i} % {few}
    torch.fmod({i}, {few})
    torch.div({i}, {few}, rounding_mode="trunc")
    torch.neg({i})
    torch.abs({i} - 2)
    torch.sign({i} - 1)
    torch.clamp({i}, 0, 3)
    torch.maximum({i}, {j})
    torch.minimum({i}, {j})
    torch.bitwise_and({i}, {j})
    torch.bitwise_or({i}, {j})
    torch.bitwise_xor({i}, 1)
    torch.bitwise_not({i})
    torch.bitwise_left_shift({i}, {few})
    torch.bitwise_right_shift(torch.abs({i}), 1)
    torch.square({i})
    torch.sum({i}, {axis}, keepdim={keep})
    torch.sum({b}, {axis})
    torch.cumsum({i}, {axis})
    torch.amax({i}, {axis})
    torch.prod(torch.clamp({i}, 1, 2), {axis})
    torch.where({b}, {b}.to(torch.int64) * 3, 7)
    {i}.to(torch.float32)
    {i}.float() * {number}
    {b}.to(torch.float32)
    {b}.to(torch.int64)
    {i}.bool()
    {i}.to(torch.int32).to(torch.int64)
    {b}.float()
    ({drawn} * 3).to(torch.int64)
    ({drawn} * 3).int().long()
    {x}.to(torch.float64).to(torch.float32)
    ({x}.double() * {number}).float()
    {x}.type_as({x})
    torch.true_divide({i}, {few})
    {x} * {i}.size(0)
    F.one_hot({i}.abs() % 5, 5)
    torch.bucketize({drawn}, torch.tensor([-1.0, 0.0, 0.5]))
    torch.searchsorted(torch.tensor([-1.0, 0.0, 0.5]), {drawn}, right={flag})
""")

PRODUCTS = templates("""
    {matrix} @ {matrix}.transpose(-1, -2)
    torch.matmul({matrix}.mT, {matrix})
    F.linear({rows}, torch.stack([{row_1}, {row_2}, {row_3}]))
    F.linear({rows}, torch.stack([{row_1}, {row_2}, {row_3}]), {w_1:3})
    {rows} @ {row}
    torch.matmul({rows}, {w_2:size,5})
    torch.bmm({signal}, {signal}.transpose(1, 2))
    torch.baddbmm({signal} @ {signal}.mT, {signal}, {signal}.mT, beta={number}, alpha=0.5)
    ({rows}.reshape(-1, {size})).addmm({rows}.reshape(-1, {size}), {w_4:size,size})
    torch.mm({rows}.reshape(-1, {size}), {w_5:size,3})
    torch.mv({rows}.reshape(-1, {size}), {row})
    torch.addmv({rows}.reshape(-1, {size})[:, 0], {rows}.reshape(-1, {size}), {row})
    torch.dot({x}.flatten(), {x}.flatten())
    torch.outer({x}.flatten()[:5], {x}.flatten())
    torch.einsum("...i,...i->...", {x}, {x})
    torch.einsum("bij,bkj->bik", {signal}, {signal})
    torch.einsum("bci,bcj->bij", {signal}, {signal})
    torch.einsum("bchw,c->bhw", {image}, {channel})
    torch.einsum("bchw,bdhw->bcd", {image}, {image})
    torch.einsum("...i,ij->...j", {rows}, {w_6:size,3})
    torch.tensordot({rows}, {w_7:size,3}, dims=1)
    torch.kron({rows}[..., :2], {w_8:2,2})
    torch.inner({rows}, {row})
    torch.linalg.multi_dot([{rows}.reshape(-1, {size}), {w_9:size,4}, {w_10:4,3}])
    torch.cdist({signal}, {signal} + 1)
    torch.linalg.cross({rows}[..., :3], {rows}[..., 1:4])
    F.bilinear({rows}, {rows}, {w_11:3,size,size})
    torch.baddbmm({signal} @ {signal}.mT, {signal}, {signal}.mT)
    torch.addbmm({signal}[0] @ {signal}[0].mT, {signal}, {signal}.mT)
    torch.trace({matrix}.flatten(0, -2)[:2, :2])
""")

ENTRIES: list[Entry] = [
    *ELEMENTWISE,
    *ACTIVATIONS,
    *PAIRS,
    *REDUCTIONS,
    *TRUTH,
    *WHOLE_NUMBERS,
    *PRODUCTS,
]
