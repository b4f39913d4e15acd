"""What 16 bits do to each operator, as data."""

from __future__ import annotations

# Sums of products, which runtimes add up in float32 whatever goes in: they do the work, and gain the most.
WORK = frozenset({"Attention", "Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})

# They round once, what they give is no larger than what they take or a few times that, and alone they gain little:
# they go along with what they take.
_MOVES = frozenset(
    {
        "CenterCropPad", "Compress", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND",
        "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
    }
)  # fmt: skip
_CHOOSES = frozenset({"GlobalMaxPool", "Max", "MaxPool", "Min", "ReduceMax", "ReduceMin"})
_ARITHMETIC = frozenset({"Abs", "Add", "Div", "Mul", "Neg", "Sub", "Sum"})
_ACTIVATIONS = frozenset(
    {
        "Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu", "Shrink", "Swish", "ThresholdedRelu",
    }
)  # fmt: skip
_BOUNDED = frozenset({"Clip", "Erf", "HardSigmoid", "Sigmoid", "Sign", "Softsign", "Tanh"})
_SMALL_SUMS = frozenset({"AveragePool", "Resize", "RotaryEmbedding"})
LIGHT = _MOVES | _CHOOSES | _ARITHMETIC | _ACTIVATIONS | _BOUNDED | _SMALL_SUMS

# Values that these give are values that they took, so that they need not be measured again.
UNCHANGING = _MOVES | _CHOOSES
# What is too large for 16 bits stays so through these.
CARRYING = (LIGHT | {"CumSum", "ReduceMean", "ReduceSum"}) - _BOUNDED

_STATISTICS = "its statistics lose too much in 16 bits"
_EXPONENTIALS = "its exponentials, and their sum, lose too much in 16 bits"
_LONG_SUM = "a long sum loses too much in 16 bits"
_STEEP = "it makes a small error of its input a large one"
_OFTEN = "what is inside runs as often as the data says, and is left alone as a whole"

KEPT: dict[str, str] = {
    **dict.fromkeys(
        (
            "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LRN", "LayerNormalization",
            "LpNormalization", "MeanVarianceNormalization", "RMSNormalization",
        ),
        _STATISTICS,
    ),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _EXPONENTIALS),
    **dict.fromkeys(
        (
            "CumProd", "CumSum", "GlobalAveragePool", "GlobalLpPool", "LpPool", "Mean", "ReduceL1", "ReduceL2",
            "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare",
        ),
        _LONG_SUM,
    ),
    **dict.fromkeys(("Cos", "Exp", "Log", "Pow", "Reciprocal", "Sin", "Softplus", "Sqrt", "Tan"), _STEEP),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _OFTEN),
}  # fmt: skip
UNKNOWN = "nothing is known of it in 16 bits"

# The element type of what they read does not matter to them.
ANY_TYPE = frozenset({"Cast", "IsInf", "IsNaN", "Shape", "Size"})

# Between numbers and their codes.
CODES = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})

# Inputs that say where, or by how much, and not what; they keep their precision.
PLACES: dict[str, tuple[int, ...]] = {"Resize": (1, 2), "DeformConv": (2,), "Dropout": (1,)}
