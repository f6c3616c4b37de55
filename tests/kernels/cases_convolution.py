"""Cases of convolutions, plain and transposed."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.kernels.grid import Case, floats, one


def convolution(
    data: tuple[int, ...],
    outputs: int,
    kernel: tuple[int, ...],
    op: str = "Conv",
    dtype: str = "float32",
    bias: bool = True,
    weight_input: bool = False,
    **attributes: Any,
) -> Case:
    """A convolution of `data`, [N, C, …], to `outputs` channels."""
    groups = attributes.get("group", 1)
    if op == "Conv":
        shape = (outputs, data[1] // groups, *kernel)
    else:
        shape = (data[1], outputs // groups, *kernel)
    labels = "_".join(f"{k}{'x'.join(map(str, np.ravel(v)))}" for k, v in attributes.items())
    name = f"{op}_{'x'.join(map(str, data))}_o{outputs}_k{'x'.join(map(str, kernel))}_{labels}_{dtype}"
    weights = {"w": floats(name + "w", *shape, dtype=dtype)}
    if bias:
        weights["b"] = floats(name + "b", outputs, dtype=dtype)
    inputs = {"x": floats(name, *data, dtype=dtype)}
    if weight_input:
        inputs |= weights
        weights = {}
    return one(op, name, inputs, weights, **attributes)


def plain_2d() -> list[Case]:
    """Plain convolutions of images."""
    c = convolution
    cases = [c((1, i, 7, 9), o, (1, 1)) for i, o in ((1, 1), (3, 17), (5, 58), (17, 29), (58, 5), (16, 64), (64, 16))]
    cases += [c((1, i, 8, 6), o, (3, 3), pads=[1, 1, 1, 1]) for i, o in ((1, 3), (3, 16), (5, 17), (29, 58), (16, 32))]
    cases += [
        c((1, 40, 40, 48), 58, (1, 1)),  # more work than one thread gets
        c((2, 32, 20, 20), 64, (3, 3), pads=[1, 1, 1, 1]),
        c((3, 5, 9, 9), 17, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
        c((3, 4, 9, 8), 8, (2, 3), strides=[3, 1], pads=[0, 2, 1, 0]),
        c((1, 3, 1, 1), 29, (1, 1)),
        c((3, 17, 1, 1), 5, (1, 1)),
        c((1, 3, 1, 1), 16, (3, 3), pads=[1, 1, 1, 1]),
        c((1, 3, 1, 13), 16, (1, 5), pads=[0, 2, 0, 2]),
        c((1, 3, 13, 1), 16, (5, 1), pads=[2, 0, 2, 0]),
        c((1, 3, 12, 12), 17, (3, 3), dilations=[2, 3]),
        c((1, 3, 12, 12), 16, (3, 3), dilations=[4, 1], pads=[4, 0, 0, 3]),
        c((1, 3, 30, 30), 16, (7, 7), strides=[2, 2], pads=[3, 3, 3, 3]),
        c((1, 3, 8, 8), 16, (8, 8)),
        c((1, 3, 8, 8), 16, (3, 3), strides=[4, 4]),  # the stride jumps over elements
        c((1, 3, 7, 7), 16, (3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
        c((1, 3, 7, 7), 16, (2, 2), strides=[2, 2], auto_pad="SAME_LOWER"),
        c((1, 2, 7, 45), 2, (3, 3)),  # vectors of factors from tiles of rows that overlap
        c((1, 3, 7, 45), 5, (3, 5)),
        c((1, 8, 6, 6), 12, (3, 3), group=2),
        c((1, 12, 6, 6), 12, (1, 1), group=4, pads=[0, 1, 1, 0]),
        c((2, 6, 6, 6), 9, (3, 3), group=3, strides=[2, 1]),
        c((1, 34, 6, 6), 34, (1, 1), group=2),
        c((1, 1, 9, 9), 1, (3, 3), group=1, pads=[1, 1, 1, 1]),
        c((1, 3, 6, 6), 16, (3, 3), bias=False),
        c((1, 5, 6, 6), 16, (3, 3), weight_input=True),
        c((1, 16, 6, 6), 16, (3, 3), group=16, weight_input=True),
        c((1, 5, 6, 6), 17, (3, 3), dtype="float64"),
        c(
            (1, 16, 6, 6),
            16,
            (3, 3),
            dtype="float16",
            pads=[1, 1, 1, 1],
        ),
    ]
    cases += [
        c((n, i, 8, 7), i * m, (3, 3), group=i, pads=[1, 1, 1, 1], strides=[s, s])
        for n, i, m, s in (
            (1, 1, 1, 1),
            (1, 3, 1, 2),
            (1, 16, 1, 1),
            (3, 17, 1, 1),
            (1, 29, 1, 2),
            (1, 58, 1, 1),
            (1, 5, 2, 1),
        )
    ]
    cases.append(c((1, 32, 24, 24), 32, (5, 5), group=32, pads=[2, 2, 2, 2], dilations=[1, 1]))
    return cases


def epilogues() -> list[Case]:
    """Convolutions and matrix products followed by what fusion appends to them."""
    cases = []
    for channels in (16, 17, 1):
        weights = {"w": floats(f"w{channels}", channels, 5, 3, 3), "b": floats(f"b{channels}", channels)}
        inputs = {"x": floats("x", 1, 5, 7, 6)}
        residual = floats("r", 1, channels, 7, 6)

        def conv(out: str) -> Any:
            return helper.make_node("Conv", ["x", "w", "b"], [out], name="conv", pads=[1, 1, 1, 1])

        node = helper.make_node
        cases += [
            Case(f"relu_{channels}", [conv("c"), node("Relu", ["c"], ["y"])], inputs, weights),
            Case(
                f"clip_{channels}",
                [conv("c"), node("Clip", ["c", "lo", "hi"], ["y"])],
                inputs,
                weights | {"lo": np.float32(-0.5), "hi": np.float32(0.7)},
            ),
            Case(f"sigmoid_{channels}", [conv("c"), node("Sigmoid", ["c"], ["y"])], inputs, weights),
            Case(
                f"silu_{channels}",
                [conv("c"), node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["y"])],
                inputs,
                weights,
            ),
            Case(f"hardswish_{channels}", [conv("c"), node("HardSwish", ["c"], ["y"])], inputs, weights),
            Case(f"leaky_{channels}", [conv("c"), node("LeakyRelu", ["c"], ["y"], alpha=0.1)], inputs, weights),
            Case(
                f"prelu_{channels}",
                [conv("c"), node("PRelu", ["c", "a"], ["y"])],
                inputs,
                weights | {"a": floats("a", channels, 1, 1)},
            ),
            Case(
                f"residual_{channels}",
                [conv("c"), node("Add", ["c", "r"], ["s"]), node("Relu", ["s"], ["y"])],
                inputs | {"r": residual},
                weights,
            ),
            Case(
                f"twice_{channels}",
                [conv("c"), node("Relu", ["c"], ["y"]), node("Neg", ["c"], ["z"])],
                inputs,
                weights,
                outputs=("y", "z"),
            ),
            Case(
                f"itself_{channels}",
                [conv("c"), node("Relu", ["c"], ["y"])],
                inputs,
                weights,
                outputs=("c", "y"),
            ),
            Case(
                f"scaled_{channels}",
                [conv("c"), node("BatchNormalization", ["c", "s", "o", "m", "v"], ["y"])],
                inputs,
                weights
                | {
                    "s": floats("s", channels),
                    "o": floats("o", channels),
                    "m": floats("m", channels),
                    "v": np.abs(floats("v", channels)) + 0.5,
                },
            ),
            Case(
                f"relu_first_{channels}",
                [node("Relu", ["x"], ["r"]), node("Conv", ["r", "w"], ["y"], name="conv")],
                inputs,
                {"w": weights["w"]},
            ),
            Case(f"pooled_{channels}", [conv("c"), node("GlobalAveragePool", ["c"], ["y"])], inputs, weights),
            Case(f"flat_{channels}", [conv("c"), node("Flatten", ["c"], ["y"])], inputs, weights),
            Case(
                f"channels_last_{channels}",
                [conv("c"), node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1])],
                inputs,
                weights,
            ),
            Case(
                f"shuffled_{channels}",
                [conv("c"), node("DepthToSpace", ["c"], ["y"], blocksize=4)],
                inputs,
                weights,
            )
            if channels == 16
            else Case(f"doubled_{channels}", [conv("c"), node("Add", ["c", "c"], ["y"])], inputs, weights),
        ]
    return cases


def other_ranks() -> list[Case]:
    """Convolutions of sequences and volumes."""
    c = convolution
    return [
        c((1, 1, 16), 1, (3,)),
        c((1, 3, 20), 17, (3,), pads=[1, 1]),
        c((3, 5, 21), 29, (4,), strides=[2], pads=[0, 3]),
        c((1, 16, 50), 32, (5,), dilations=[3], pads=[6, 6]),
        c((1, 58, 1), 16, (1,)),
        c((1, 12, 20), 12, (3,), group=12),
        c((1, 12, 20), 8, (3,), group=4),
        c((2, 40, 200), 64, (3,)),
        c((1, 1, 4, 5, 6), 3, (2, 2, 2)),
        c((1, 3, 5, 6, 7), 17, (3, 3, 3), pads=[1, 0, 1, 0, 1, 1]),
        c((2, 4, 5, 6, 7), 6, (1, 2, 3), strides=[1, 2, 1], dilations=[2, 1, 1], group=2),
        c((1, 4, 3, 4, 5), 4, (2, 2, 2), group=4),
        c((1, 3, 1, 1, 1), 5, (1, 1, 1)),
    ]


def transposed() -> list[Case]:
    """Transposed convolutions."""

    def c(*args: Any, **kwargs: Any) -> Case:
        return convolution(*args, op="ConvTranspose", **kwargs)

    return [
        c((1, 1, 3, 3), 1, (3, 3)),
        c((1, 3, 5, 4), 17, (3, 3), strides=[2, 2]),
        c((1, 16, 5, 4), 16, (2, 2), strides=[2, 2]),
        c((1, 3, 5, 4), 5, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        c((1, 3, 5, 4), 5, (4, 3), strides=[2, 3], pads=[0, 1, 2, 1], output_padding=[1, 2]),
        c((3, 4, 3, 3), 6, (3, 3), group=2, strides=[2, 1]),
        c((1, 4, 3, 3), 4, (3, 3), group=4, strides=[2, 2], pads=[1, 1, 1, 1]),
        c((1, 3, 4, 4), 5, (3, 3), dilations=[2, 2]),
        c((1, 3, 4, 4), 5, (3, 2), dilations=[2, 3], strides=[2, 2], pads=[1, 0, 1, 1]),
        c((1, 3, 4, 4), 5, (1, 1), strides=[2, 2]),
        c((1, 3, 4, 4), 5, (2, 2), strides=[3, 3]),
        c((1, 3, 4, 4), 5, (2, 2), strides=[3, 3], pads=[1, 1, 1, 1]),
        c((1, 3, 4, 4), 5, (1, 1), strides=[3, 3], output_padding=[2, 1]),
        c((1, 3, 4, 4), 5, (3, 3), pads=[2, 2, 2, 2]),
        c((1, 3, 5, 5), 5, (3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
        c((1, 3, 5, 5), 5, (3, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
        c((1, 5, 5, 5), 16, (3, 3), strides=[2, 2], weight_input=True),
        c((1, 5, 5, 5), 16, (3, 3), strides=[2, 2], dtype="float64"),
        c((1, 8, 5, 7), 16, (4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
        c((2, 8, 5, 4), 8, (4, 4), strides=[2, 2], pads=[1, 1, 1, 1], group=8),
        c((1, 4, 3, 2), 4, (10, 10), strides=[5, 5], pads=[2, 3, 3, 2], group=4),  # blocks of many places
        c((1, 3, 4, 5), 5, (3, 4), strides=[2, 1], dilations=[2, 3], pads=[6, 1, 2, 2]),  # more cut than a tap reaches
        c((1, 1, 3, 3), 1, (7, 7), strides=[4, 4]),
        c((1, 6, 1, 1), 4, (6, 5), strides=[3, 2]),
        c((1, 8, 21), 4, (16,), strides=[8], pads=[4, 4]),
        c((1, 3, 9), 5, (4,), strides=[2], pads=[1, 1]),
        c((1, 4, 9), 6, (3,), strides=[3], group=2, output_padding=[2]),
        c((1, 3, 1), 5, (5,), strides=[2]),
        c((1, 3, 2, 3, 4), 5, (2, 3, 2), strides=[1, 2, 2]),
        c(
            (1, 3, 2, 3, 4),
            6,
            (3, 3, 3),
            strides=[2, 2, 2],
            pads=[1, 1, 1, 1, 1, 1],
            output_padding=[1, 1, 1],
            group=3,
        ),
    ]


FAMILIES = {
    "convolution": plain_2d,
    "epilogue": epilogues,
    "convolution_ranks": other_ranks,
    "transposed_convolution": transposed,
}
