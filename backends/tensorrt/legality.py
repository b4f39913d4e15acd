"""What TensorRT's parser takes, as data. Pinned against the parser itself in tests/backends/test_tensorrt.py."""

from __future__ import annotations

from compiler.contracts import Legality

_NONE = "TensorRT's parser does not have it"
_SEQUENCES = "TensorRT has no sequences of tensors"
_STRINGS = "TensorRT has no strings"
_WORDS = "TensorRT has no arithmetic on single bits"

# What the parser itself says it does not have.
REFUSES: dict[str, str] = {
    **dict.fromkeys(
        (
            "AffineGrid",
            "Bernoulli",
            "BitCast",
            "CenterCropPad",
            "Col2Im",
            "Compress",
            "ConvInteger",
            "CumProd",
            "DFT",
            "DeformConv",
            "Det",
            "DynamicQuantizeLinear",
            "ImageDecoder",
            "MatMulInteger",
            "MaxRoiPool",
            "MaxUnpool",
            "MelWeightMatrix",
            "Multinomial",
            "NegativeLogLikelihoodLoss",
            "QLinearConv",
            "QLinearMatMul",
            "SoftmaxCrossEntropyLoss",
            "SwiGLU",
            "Unique",
        ),
        _NONE,
    ),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"), _WORDS),
    **dict.fromkeys(
        (
            "ConcatFromSequence",
            "Optional",
            "OptionalGetElement",
            "OptionalHasElement",
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SequenceMap",
            "SplitToSequence",
        ),
        _SEQUENCES,
    ),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), _STRINGS),
}

_MISSING = "TensorRT does not have this element type"
_NO_KERNEL = "TensorRT-RTX has no kernel for it"

LEGALITY = Legality(
    opsets={"": 24},
    refuses=REFUSES | dict.fromkeys(("NonMaxSuppression", "NonZero"), _NO_KERNEL),
    dtypes={
        "float64": "TensorRT would compute it in float32",
        **dict.fromkeys(("int16", "uint16", "uint32", "uint64", "complex64", "complex128", "string"), _MISSING),
    },
)
