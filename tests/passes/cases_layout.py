"""Cases of operators between convolutions, whose layout the compiler changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.kernels.cases_shape import i64
from tests.kernels.grid import Case, floats

node = helper.make_node


def _between(name: str, nodes: list[onnx.NodeProto], constants: dict[str, Any] | None = None) -> Case:
    """A convolution, `nodes` from `c` to `y`."""
    weights = {"w": floats("w", 8, 3, 3, 3), "b": floats("b", 8)}
    conv = node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1])
    return Case(name, [conv, *nodes], {"x": floats("x", 2, 3, 4, 6)}, weights | (constants or {}), tolerance=1e-4)


def layouts() -> list[Case]:
    """One operator, or a few, behind a convolution."""
    cases = []

    def add(name: str, op: str, *more: str, c: dict[str, Any] | None = None, **attributes: Any) -> None:
        inputs = [*more] if "c" in more else ["c", *more]
        cases.append(_between(name, [node(op, inputs, ["y"], **attributes)], c))

    for axis in (0, 1, 2, 3, -1, -2, -3):
        add(f"softmax_{axis}", "Softmax", axis=axis)
        add(f"concat_{axis}", "Concat", "c", "c", axis=axis)
        add(f"argmax_{axis}", "ArgMax", axis=axis, keepdims=0)
        add(f"mean_{axis}", "ReduceMean", "a", c={"a": i64(axis)}, keepdims=0)
        add(f"max_keep_{axis}", "ReduceMax", "a", c={"a": i64(axis)}, keepdims=1)
        add(f"logsumexp_{axis}", "ReduceLogSumExp", "a", c={"a": i64(axis)}, keepdims=0)
        add(f"slice_{axis}", "Slice", "s", "e", "a", c={"s": i64(1), "e": i64(-1), "a": i64(axis)})
        add(f"unsqueeze_{axis}", "Unsqueeze", "a", c={"a": i64(axis)})
        add(f"gather_{axis}", "Gather", "i", c={"i": i64(1, 0)}, axis=axis)
        add(f"cumsum_{axis}", "CumSum", "a", c={"a": np.array(axis)})
        add(f"flatten_{axis}", "Flatten", axis=axis)
        cases.append(
            _between(
                f"split_{axis}",
                [node("Split", ["c"], ["d", "e"], axis=axis, num_outputs=2), node("Sub", ["d", "e"], ["y"])],
            )
        )
    for shape in ((), (1,), (6,), (4, 6), (8, 1, 1), (2, 1, 4, 1), (2, 8, 4, 6), (1, 2, 8, 4, 6)):
        add(f"add_{shape}", "Add", "k", c={"k": floats("k", *shape)})
        add(f"where_{shape}", "Where", "k", "c", "z", c={"k": floats("k", *shape) > 0, "z": np.float32(2)})
    for perm in ((0, 2, 3, 1), (0, 1, 3, 2), (3, 2, 1, 0), (1, 0, 2, 3)):
        add(f"transpose_{perm}", "Transpose", perm=perm)
    add("mean_all", "ReduceMean", keepdims=0)
    add("mean_two", "ReduceMean", "a", c={"a": i64(-1, -2)}, keepdims=1)
    add("mean_outer", "ReduceMean", "a", c={"a": i64(0, 3)}, keepdims=0)
    add("pad", "Pad", "p", c={"p": i64(0, 1, 2, 0, 0, 0, 1, 3)})
    add("pad_edge", "Pad", "p", c={"p": i64(0, 0, 2, 0, 0, 0, 1, 3)}, mode="edge")
    add("tile", "Tile", "r", c={"r": i64(1, 2, 1, 3)})
    add("expand", "Expand", "s", c={"s": i64(3, 2, 8, 4, 6)})
    add("reshape", "Reshape", "s", c={"s": i64(4, -1, 6)})
    add("reshape_groups", "Reshape", "s", c={"s": i64(2, 2, 4, 4, 6)})
    add("depth", "DepthToSpace", blocksize=2)
    add("space", "SpaceToDepth", blocksize=2)
    add("prelu", "PRelu", "k", c={"k": floats("k", 8, 1, 1)})
    add("instance", "InstanceNormalization", "k", "l", c={"k": floats("k", 8), "l": floats("l", 8)})
    add("group", "GroupNormalization", "k", "l", c={"k": floats("k", 8), "l": floats("l", 8)}, num_groups=2)
    add("layer", "LayerNormalization", "k", "l", c={"k": floats("k", 6), "l": floats("l", 6)}, axis=-1)
    add(
        "layer_wide",
        "LayerNormalization",
        "k",
        "l",
        c={"k": floats("k", 8, 4, 6), "l": floats("l", 8, 4, 6)},
        axis=1,
    )
    add("lrn", "LRN", size=3)
    add("matmul", "MatMul", "k", c={"k": floats("k", 6, 5)})
    add("max_pool", "MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    add("average_pool", "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    add("global_pool", "GlobalAveragePool")
    add("resize", "Resize", "", "s", c={"s": np.array([1, 1, 2, 2], "float32")}, mode="linear")
    add("resize_nearest", "Resize", "", "s", c={"s": np.array([1, 1, 2, 2], "float32")}, mode="nearest")
    add("transposed", "ConvTranspose", "k", c={"k": floats("k", 8, 4, 2, 2)}, strides=[2, 2])
    add("grouped", "Conv", "k", c={"k": floats("k", 12, 2, 3, 3)}, group=4)
    add("depthwise", "Conv", "k", c={"k": floats("k", 8, 1, 3, 3)}, group=8)
    add("topk", "TopK", "k", c={"k": i64(3)}, axis=1)
    cases[-1] = Case(
        "topk",
        [cases[-1].nodes[0], node("TopK", ["c", "k"], ["y", "i"], axis=1)],
        cases[-1].inputs,
        cases[-1].constants,
        ("y", "i"),
        tolerance=1e-4,
    )
    shuffle = [
        node("Reshape", ["c", "s"], ["d"]),
        node("Transpose", ["d"], ["e"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["e", "t"], ["f"]),
        node("Conv", ["f", "k"], ["y"], name="conv"),
    ]
    cases.append(
        _between("shuffle", shuffle, {"s": i64(2, 2, 4, 4, 6), "t": i64(2, 8, 4, 6), "k": floats("k", 5, 8, 1, 1)})
    )
    attention = [
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Conv", ["p", "k"], ["q"], name="conv"),
        node("Sigmoid", ["q"], ["s"]),
        node("Mul", ["c", "s"], ["y"]),
    ]
    cases.append(_between("squeeze_excite", attention, {"k": floats("k", 8, 8, 1, 1)}))
    head = [node("Flatten", ["c"], ["f"]), node("Gemm", ["f", "k"], ["y"])]
    cases.append(_between("head", head, {"k": floats("k", 192, 10)}))
    return cases


FAMILIES = {"layout": layouts}
