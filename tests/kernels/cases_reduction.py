"""Cases of pooling, reductions, normalisations and what else runs along an axis."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy as np
from onnx import helper

from tests.kernels.grid import Case, floats, one, rng_of


def pools() -> list[Case]:
    """Pooling in one to three dimensions."""
    cases = []

    def pool(op: str, shape: tuple[int, ...], **attributes: Any) -> None:
        labels = "_".join(f"{k}{'x'.join(map(str, np.ravel(v)))}" for k, v in attributes.items())
        name = f"{op}_{'x'.join(map(str, shape))}_{labels}"
        cases.append(one(op, name, {"x": floats(name, *shape)}, **attributes))

    for op in ("MaxPool", "AveragePool"):
        pool(op, (1, 1, 4, 4), kernel_shape=[2, 2])
        pool(op, (1, 17, 9, 8), kernel_shape=[3, 3], strides=[2, 2])
        pool(op, (3, 16, 9, 8), kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 2, 1])
        pool(op, (1, 5, 10, 10), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        pool(op, (1, 5, 10, 9), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
        pool(op, (1, 5, 10, 10), kernel_shape=[2, 3], dilations=[2, 3])
        pool(op, (1, 5, 7, 7), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
        pool(op, (1, 5, 7, 7), kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_LOWER")
        pool(op, (1, 3, 1, 1), kernel_shape=[1, 1])
        pool(op, (1, 3, 11), kernel_shape=[3], strides=[2], pads=[1, 1])
        pool(op, (1, 3, 5, 6, 7), kernel_shape=[2, 3, 2], strides=[1, 2, 2])
        pool(op, (1, 32, 48, 48), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    pool("AveragePool", (1, 5, 9, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    pool(
        "AveragePool",
        (1, 5, 9, 8),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[0, 1, 2, 1],
        ceil_mode=1,
        count_include_pad=1,
    )
    for op in ("MaxPool", "AveragePool"):  # one axis after the other
        pool(op, (2, 19, 11, 12), kernel_shape=[5, 5], pads=[2, 2, 2, 2])
        pool(op, (1, 8, 9, 9), kernel_shape=[9, 7], pads=[4, 3, 4, 3], strides=[1, 2])
    pool("AveragePool", (1, 5, 9, 9), kernel_shape=[5, 5], pads=[2, 2, 2, 2], count_include_pad=1)
    for dtype in ("int8", "uint8", "float64", "float16"):
        x = (20 * floats(dtype, 2, 3, 9, 21)).astype(dtype)
        cases.append(one("MaxPool", f"max_{dtype}", {"x": x}, kernel_shape=[3, 2], strides=[2, 3], pads=[1, 1, 0, 1]))
    pool("MaxPool", (1, 2, 5000), kernel_shape=[2], strides=[2])
    pool("MaxPool", (2, 3, 6, 40), kernel_shape=[3, 5], dilations=[2, 4], pads=[3, 7, 1, 2], strides=[1, 3])
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        pool(op, (1, 1, 1, 1))
        pool(op, (3, 17, 7, 5))
        pool(op, (2, 64, 9))
        pool(op, (1, 5, 3, 4, 5))
    return cases


_OPERATORS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
_OPERATORS += ("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")


def reductions() -> list[Case]:
    """Reductions over every set of axes."""
    cases = []
    shape = (3, 5, 4, 17)
    sets = list(chain.from_iterable(combinations(range(4), n) for n in range(1, 5)))
    for number, axes in enumerate(sets):
        for keep in (0, 1):
            op = _OPERATORS[(number + 5 * keep) % len(_OPERATORS)]
            name = f"{op}_{axes}_{keep}"
            x = np.abs(floats(name, *shape)) + 0.1 if op in ("ReduceLogSum", "ReduceProd") else floats(name, *shape)
            axes_ = np.array([a - 4 * ((a + number) % 2) for a in axes])  # some are counted from the end
            cases.append(one(op, name, {"x": x}, {"axes": axes_}, keepdims=keep, tolerance=1e-4))
    x = floats("all", 1, 197, 64)
    cases += [
        one("ReduceSum", "sum_all", {"x": x}, keepdims=0),
        one("ReduceSum", "sum_none", {"x": x}, keepdims=1, noop_with_empty_axes=1),
        one("ReduceMean", "mean_last", {"x": x}, {"axes": np.array([-1])}),
        one("ReduceMean", "mean_middle", {"x": x}, {"axes": np.array([1])}),
        one("ReduceMax", "max_large", {"x": floats("large", 64, 1000)}, {"axes": np.array([1])}),
        one(
            "ReduceMax",
            "max_infinite",
            {"x": np.array([[-np.inf, -np.inf], [np.inf, 1]], "float32")},
            {"axes": np.array([1])},
        ),
        one("ReduceMean", "mean_long", {"x": floats("long", 1, 192, 197) + 1}, keepdims=0),
        one("ReduceMean", "mean_long_rows", {"x": floats("lr", 3, 1, 199, 180, 1)}, {"axes": np.array([2, 3])}),
        one("ReduceMax", "max_long_prime", {"x": floats("lp", 2, 32771)}, {"axes": np.array([1])}, keepdims=0),
        one("ReduceMin", "min_long", {"x": floats("ln", 2, 40000)}, {"axes": np.array([1])}),
        one("ReduceMean", "mean_columns", {"x": floats("lc", 36000, 3)}, {"axes": np.array([0])}),
        one("ReduceMean", "mean_long_double", {"x": floats("ld", 36000, dtype="float64")}, keepdims=0),
        one("ReduceMean", "mean_primes", {"x": floats("pr", 13, 101)}, {"axes": np.array([1])}),
        one("ReduceMean", "mean_image", {"x": floats("im", 2, 17, 7, 7)}, {"axes": np.array([2, 3])}),
        one("ReduceSum", "sum_scalar", {"x": np.float32(3).reshape(())}, keepdims=0),
        one("ReduceSum", "sum_one", {"x": floats("one", 1)}, {"axes": np.array([0])}, keepdims=0),
        one("ReduceSum", "sum_double", {"x": floats("d", 7, 33, dtype="float64")}, {"axes": np.array([1])}),
        one("ReduceSum", "sum_half", {"x": floats("h", 7, 33, dtype="float16")}, {"axes": np.array([0])}),
        one(
            "ReduceSum",
            "sum_empty",
            {"x": np.zeros((3, 0, 2), "float32")},
            {"axes": np.array([1])},
            expected=(np.zeros((3, 1, 2), "float32"),),
        ),
    ]
    rng = rng_of("integers")
    for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"):
        for dtype in ("int32", "int64"):
            x = rng.integers(-9, 9, (4, 3, 5)).astype(dtype)
            cases.append(one(op, f"{op}_{dtype}", {"x": x}, {"axes": np.array([1])}))
    return cases


def normalisations() -> list[Case]:
    """Softmax and the normalisations."""
    cases = []
    for op in ("Softmax", "LogSoftmax"):
        for shape in ((1, 1), (3, 17), (197, 64), (2, 5, 7), (2, 4, 3, 5), (1, 1000), (17,)):
            for axis in {-1, 0, len(shape) // 2}:
                name = f"{op}_{'x'.join(map(str, shape))}_{axis}"
                cases.append(one(op, name, {"x": 5 * floats(name, *shape)}, axis=axis, tolerance=1e-4))
        large = np.array([[1e4, -1e4, 0], [-np.inf, 0, 1], [1e30, 1e30, 1]], "float32")
        cases.append(one(op, f"{op}_large", {"x": large}, axis=1))
        cases.append(one(op, f"{op}_half", {"x": floats(op, 5, 33, dtype="float16")}, axis=1))
        cases.append(one(op, f"{op}_double", {"x": floats(op, 5, 33, dtype="float64")}, axis=1))
    for shape, axis in (
        ((3, 17), -1),
        ((197, 64), -1),
        ((2, 5, 7), 1),
        ((2, 3, 4, 5), -2),
        ((1, 1, 1), -1),
        ((4, 768), -1),
    ):
        name = f"LayerNormalization_{'x'.join(map(str, shape))}_{axis}"
        x = 3 * floats(name, *shape) + 1
        weights = {"s": floats(name + "s", *shape[axis:]), "b": floats(name + "b", *shape[axis:])}
        cases.append(one("LayerNormalization", name, {"x": x}, weights, axis=axis, tolerance=1e-4))
    s = floats("s", 7)
    cases.append(one("LayerNormalization", "layer_no_bias", {"x": floats("l", 5, 7)}, {"s": s}, epsilon=1e-2))
    for shape in ((1, 3, 4, 5), (3, 17, 7), (2, 16, 9, 9), (1, 4, 3, 3, 3)):
        name = f"InstanceNormalization_{'x'.join(map(str, shape))}"
        weights = {"s": floats(name + "s", shape[1]), "b": floats(name + "b", shape[1])}
        cases.append(one("InstanceNormalization", name, {"x": 2 * floats(name, *shape) + 1}, weights, tolerance=1e-4))
    for shape, groups in (((1, 4, 5, 5), 2), ((2, 12, 3, 4), 3)):
        name = f"GroupNormalization_{groups}"
        weights = {"s": floats(name + "s", shape[1]), "b": floats(name + "b", shape[1])}
        cases.append(
            one(
                "GroupNormalization",
                name,
                {"x": floats(name, *shape)},
                weights,
                num_groups=groups,
                tolerance=1e-4,
            )
        )
    weights = {n: floats(f"bn{n}", 5) for n in ("s", "b", "m")} | {"v": np.abs(floats("bnv", 5)) + 0.3}
    cases.append(one("BatchNormalization", "batch", {"x": floats("bn", 2, 5, 3, 4)}, weights))
    cases.append(one("LRN", "lrn", {"x": floats("lrn", 2, 7, 3, 4)}, size=3, alpha=0.1, beta=0.7, bias=1.5))
    cases.append(one("LpNormalization", "lp", {"x": floats("lp", 3, 7)}, axis=1, p=2))
    cases.append(one("MeanVarianceNormalization", "mvn", {"x": floats("mvn", 2, 3, 4, 5)}, axes=[0, 2, 3]))
    return cases


def group_normalisations() -> list[Case]:
    """Instance and group normalisation of images whose channels lie last inside, since they follow a convolution."""
    cases = []
    for shape, groups in (
        ((1, 16, 9, 9), 16),
        ((3, 17, 7, 5), 17),
        ((1, 32, 13, 11), 8),
        ((2, 33, 8, 4), 11),
        ((1, 96, 1, 1), 96),
        ((2, 96, 1, 1), 32),
        ((1, 3, 16, 20), 3),
        ((1, 1, 8, 8), 1),
        ((1, 130, 6, 6), 1),
        ((2, 64, 33, 3), 2),
        ((1, 5, 40, 40), 5),
    ):
        for form in ("instance", "group", "spelled"):
            if form == "instance" and groups != shape[1]:
                continue
            name = f"{form}_{'x'.join(map(str, shape))}_{groups}"
            cases.append(_after_convolution(name, form, shape, groups))
    x = floats("far", 2, 8, 9, 7)
    weights = {"s": floats("fs", 8), "b": floats("fb", 8)}
    cases.append(one("InstanceNormalization", "far_from_0", {"x": x + 100}, weights, tolerance=1e-3))
    for dtype in ("float16", "float64"):
        typed = {key: value.astype(dtype) for key, value in weights.items()}
        cases.append(one("InstanceNormalization", f"instance_{dtype}", {"x": x.astype(dtype)}, typed))
    return cases


def _after_convolution(name: str, form: str, shape: tuple[int, ...], groups: int) -> Case:
    """Of a batch of images, with what often follows."""
    channels = shape[1]
    node = helper.make_node
    constants = {"w": floats(name + "w", channels, 2, 1, 1)}
    if form == "spelled":
        size = channels // groups * shape[2] * shape[3]
        constants |= {"rows": np.array([shape[0], groups, size]), "whole": np.array(shape)}
        constants |= {"s0": np.ones(groups, "float32"), "b0": np.zeros(groups, "float32")}
        constants |= {"s": floats(name + "s", channels, 1, 1), "b": floats(name + "b", 1, channels, 1, 1)}
        normalised = [
            node("Reshape", ["c", "rows"], ["r"]),
            node("InstanceNormalization", ["r", "s0", "b0"], ["n"], epsilon=1e-3),
            node("Reshape", ["n", "whole"], ["m"]),
            node("Mul", ["m", "s"], ["k"]),
            node("Add", ["b", "k"], ["g"]),
        ]
    else:
        constants |= {key: floats(name + key, channels) for key in ("s", "b")}
        attributes = {"num_groups": groups} if form == "group" else {}
        operator = "GroupNormalization" if form == "group" else "InstanceNormalization"
        normalised = [node(operator, ["c", "s", "b"], ["g"], epsilon=1e-3, **attributes)]
    last = [node("Sigmoid", ["g"], ["t"]), node("Mul", ["g", "t"], ["u"]), node("Add", ["u", "c"], ["y"])]
    nodes = [node("Conv", ["x", "w"], ["c"]), *normalised, *last]
    x = floats(name + "x", shape[0], 2, *shape[2:])
    return Case(name, nodes, {"x": x}, constants, tolerance=1e-4)


def searches() -> list[Case]:
    """Arg-reductions, sorting and running sums."""
    cases = []
    rng = rng_of("searches")
    for op in ("ArgMax", "ArgMin"):
        for shape, axis in (
            ((5,), 0),
            ((3, 17), 1),
            ((3, 17), 0),
            ((2, 3, 4, 5), -2),
            ((1, 1), 1),
            ((1, 4, 300), 2),
        ):
            for keep in (0, 1):
                name = f"{op}_{'x'.join(map(str, shape))}_{axis}_{keep}"
                x = rng.integers(0, 6, shape).astype("float32")  # with ties: the first one counts
                cases.append(one(op, name, {"x": x}, axis=axis, keepdims=keep))
        cases.append(
            one(
                op,
                f"{op}_last_of_ties",
                {"x": rng.integers(0, 3, (4, 9)).astype("float32")},
                axis=1,
                select_last_index=1,
            )
        )
        cases.append(one(op, f"{op}_int32", {"x": rng.integers(-9, 9, (4, 9)).astype("int32")}, axis=1))
    for exclusive in (0, 1):
        for reverse in (0, 1):
            name = f"cumsum_{exclusive}{reverse}"
            cases.append(
                one(
                    "CumSum",
                    name,
                    {"x": floats(name, 3, 9, 4)},
                    {"axis": np.array(1)},
                    exclusive=exclusive,
                    reverse=reverse,
                )
            )
    wide = rng.integers(-9, 9, (3, 40, 50)).astype("float32")
    cases += [one("CumSum", f"cumsum_wide_{axis}", {"x": wide}, {"axis": np.array(axis)}) for axis in range(3)]
    ties = rng.integers(-40, 40, (2, 700, 3)).astype("float32")
    for k in (5, 650):
        for largest in (0, 1):
            name = f"topk_long_{k}_{largest}"
            attributes = {"axis": 1, "largest": largest}
            cases.append(one("TopK", name, {"x": ties}, {"k": np.array([k])}, outputs=("v", "i"), **attributes))
    extremes = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45], "float32")[rng.integers(0, 6, (3, 300))]
    for k in (1, 5, 32, 33):
        for largest in (0, 1):
            for kind, x in {
                "extremes": extremes,
                "ascending": np.arange(400).reshape(2, 200).astype("int32"),
                "descending": np.arange(400)[::-1].reshape(2, 200).astype("int64"),
            }.items():
                order = np.argsort(x, 1, kind="stable")
                if largest:  # equals keep their order, NaN is the largest
                    order = x.shape[1] - 1 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]
                order = order[:, :k]
                expected = (np.take_along_axis(x, order, 1), order)
                name = f"topk_few_{kind}_{k}_{largest}"
                attributes = {"outputs": ("v", "i"), "expected": expected, "largest": largest}
                cases.append(one("TopK", name, {"x": x}, {"k": np.array([k])}, **attributes))
    for size, dtype in ((129, "float64"), (191, "float16"), (192, "uint8"), (193, "int16"), (1000, "float32")):
        # A whole number of blocks, one more element, one less; with so many ties that every block has some.
        x = rng.integers(0, 60, (2, size)).astype(dtype)
        for largest in (0, 1):
            order = np.argsort(-x.astype("int64") if largest else x, 1, kind="stable")[:, :32]
            expected = (np.take_along_axis(x, order, 1), order)
            attributes = {"outputs": ("v", "i"), "expected": expected, "largest": largest}
            name = f"topk_few_{dtype}_{size}_{largest}"
            cases.append(one("TopK", name, {"x": x}, {"k": np.array([32])}, **attributes))
    for op in ("ArgMax", "ArgMin"):
        for shape in ((7, 1009), (1, 5, 2), (3, 2, 21)):
            x = rng.integers(0, 50, shape).astype("float32")
            cases.append(one(op, f"{op}_rows_{shape}", {"x": x}, axis=-1, keepdims=0))
    cases.append(one("CumSum", "cumsum_last", {"x": floats("cl", 70)}, {"axis": np.array(-1)}))
    cases.append(one("CumSum", "cumsum_int", {"x": rng.integers(-9, 9, (3, 5)).astype("int64")}, {"axis": np.array(0)}))
    for largest in (0, 1):
        x = rng.permutation(60).reshape(3, 20).astype("float32")
        cases.append(
            one("TopK", f"topk_{largest}", {"x": x}, {"k": np.array([4])}, outputs=("v", "i"), largest=largest)
        )
    cases.append(
        one(
            "TopK",
            "topk_axis",
            {"x": rng.permutation(60).reshape(5, 12).astype("float32")},
            {"k": np.array([2])},
            outputs=("v", "i"),
            axis=0,
        )
    )
    return cases


FAMILIES = {
    "pool": pools,
    "reduction": reductions,
    "normalisation": normalisations,
    "group_normalisation": group_normalisations,
    "search": searches,
}
