"""Cases of operators that move elements."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from tests.kernels.grid import Case, floats, one, rng_of


def i64(*values: int) -> np.ndarray[Any, Any]:
    """A list of 64-bit integers, as axes and the like are."""
    return np.array(values, "int64")


def moves() -> list[Case]:
    """Transposes, concatenations, slices, pads, splits, tiles."""
    cases = []
    for perm in permutations(range(3)):
        cases.append(one("Transpose", f"transpose_{perm}", {"x": floats("t3", 5, 17, 3)}, perm=perm))
    for perm in ((0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (0, 2, 1, 3), (1, 0, 3, 2), (2, 0, 1, 3)):
        cases.append(one("Transpose", f"transpose_{perm}", {"x": floats("t4", 2, 16, 5, 19)}, perm=perm))
    cases += [
        one("Transpose", "transpose_large", {"x": floats("tl", 1, 67, 40, 48)}, perm=(0, 2, 3, 1)),
        one("Transpose", "transpose_few_channels", {"x": floats("tf", 2, 3, 5, 19)}, perm=(0, 2, 3, 1)),
        one("Transpose", "transpose_few_bools", {"x": floats("tb", 2, 2, 17) > 0}, perm=(0, 2, 1)),
        one("Transpose", "transpose_square", {"x": floats("ts", 192, 192)}),
        one("Transpose", "transpose_bytes", {"x": rng_of("tb").integers(0, 255, (40, 72), "uint8")}),
        one("Transpose", "transpose_bool", {"x": rng_of("tb").random((7, 9)) > 0.5}),
        one("Transpose", "transpose_double", {"x": floats("td", 33, 40, dtype="float64")}),
        one("Transpose", "transpose_half", {"x": floats("th", 33, 40, dtype="float16")}),
        one("Transpose", "transpose_one", {"x": floats("to", 5)}, perm=(0,)),
        one("Transpose", "transpose_rank6", {"x": floats("t6", 2, 3, 2, 3, 2, 3)}, perm=(0, 3, 1, 4, 2, 5)),
    ]
    for number, (shape, perm) in enumerate(
        (
            ((2, 100, 37), (0, 2, 1)), ((5, 900), (1, 0)), ((900, 6), (1, 0)), ((3, 70, 9, 11), (0, 2, 3, 1)),
            ((40, 2, 12), (0, 2, 1)), ((41, 12, 2), (0, 2, 1)), ((50, 3, 5), (0, 2, 1)), ((37, 24, 4), (0, 2, 1)),
        )
    ):  # fmt: skip
        for dtype in ("float32", "uint8", "int64", "float16")[number % 2 :: 2]:
            x = rng_of(f"tiles{number}").integers(0, 100, shape).astype(dtype)
            cases.append(one("Transpose", f"transpose_tiles_{number}_{dtype}", {"x": x}, perm=perm))
    for axis in range(-1, 3):
        shapes = [[2, 3, 17], [2, 3, 17], [2, 3, 17]]
        for number, shape in enumerate(shapes):
            shape[axis] = (1, 16, 5)[number]
        arrays = {f"x{n}": floats(f"c{axis}{n}", *shape) for n, shape in enumerate(shapes)}
        cases.append(one("Concat", f"concat_{axis}", arrays, axis=axis))
    a = floats("c", 2, 3)
    cases += [
        one("Concat", "concat_empty", {"a": a, "b": np.zeros((0, 3), "float32")}, axis=0),
        one("Concat", "concat_same", {"a": a}, order=["a", "a", "a"], axis=1),
        one("Concat", "concat_one", {"a": a}, axis=1),
        one("Concat", "concat_bool", {"a": a > 0, "b": a < 0.3}, axis=1),
    ]
    x = floats("s", 5, 17, 6)
    for name, (starts, ends, axes, steps) in {
        "front": ((0,), (3,), (1,), (1,)),
        "last": ((-3,), (2**31,), (1,), (1,)),
        "steps": ((1, 0), (16, 6), (1, 2), (3, 2)),
        "backwards": ((-1,), (-(2**31),), (1,), (-1,)),
        "backwards_2": ((4, 15), (0, 1), (0, 1), (-1, -4)),
        "empty": ((4,), (2,), (1,), (1,)),
        "all": ((0, 0, 0), (5, 17, 6), (0, 1, 2), (1, 1, 1)),
        "negative_axis": ((1,), (-1,), (-2,), (2,)),
    }.items():
        constants = {"b": i64(*starts), "e": i64(*ends), "a": i64(*axes), "s": i64(*steps)}
        cases.append(one("Slice", f"slice_{name}", {"x": x}, constants))
    for mode in ("constant", "reflect", "edge", "wrap"):
        for widths in ((0, 1, 2, 0, 3, 1), (0, 0, 5, 0, 0, 5), (1, 1, 1, 1, 1, 1)):
            constants: dict[str, Any] = {"p": i64(*widths)}
            if mode == "constant":
                constants["v"] = np.float32(1.5)
            cases.append(one("Pad", f"pad_{mode}_{widths}", {"x": x}, constants, mode=mode))
    cases += [
        one("Pad", "pad_axes", {"x": x}, {"p": i64(2, 1), "v": np.float32(0), "a": i64(-1)}),
        one("Pad", "pad_reflect_cut", {"x": x}, {"p": i64(0, -2, 3, 0, 1, 0)}, mode="reflect"),
        one("Pad", "pad_images", {"x": floats("pi", 2, 3, 70, 90)}, {"p": i64(0, 0, 3, 2, 0, 0, 1, 4)}, mode="edge"),
        one("Pad", "pad_negative", {"x": x}, {"p": i64(-1, 2, 0, 0, -3, 1)}),
        one("Pad", "pad_int", {"x": np.arange(6).reshape(2, 3)}, {"p": i64(0, 2, 1, 0), "v": np.int64(-7)}),
        one("Pad", "pad_large", {"x": floats("pl", 1, 24, 40, 40)}, {"p": i64(0, 0, 1, 1, 0, 0, 2, 2)}),
        one("Split", "split", {"x": x}, {"s": i64(1, 10, 6)}, outputs=("a", "b", "c"), axis=1),
        one("Split", "split_equal", {"x": x}, outputs=("a", "b", "c"), axis=2, num_outputs=3),
        one("Split", "split_uneven", {"x": x}, outputs=("a", "b"), axis=0, num_outputs=2),
        one("Tile", "tile", {"x": x}, {"r": i64(2, 1, 3)}),
        one("Tile", "tile_zero", {"x": x}, {"r": i64(1, 0, 1)}),
        one("Expand", "expand", {"x": floats("e", 3, 1)}, {"s": i64(2, 1, 17)}),
        one("Expand", "expand_scalar", {"x": np.float32(3).reshape(())}, {"s": i64(2, 3)}),
        one("Reshape", "reshape", {"x": x}, {"s": i64(0, -1, 2)}),
        one("Squeeze", "squeeze", {"x": floats("q", 1, 3, 1)}, {"a": i64(0)}),
        one("Unsqueeze", "unsqueeze", {"x": x}, {"a": i64(0, -1)}),
        one("DepthToSpace", "depth_dcr", {"x": floats("dd", 2, 12, 3, 4)}, blocksize=2),
        one("DepthToSpace", "depth_crd", {"x": floats("dc", 2, 12, 3, 4)}, blocksize=2, mode="CRD"),
        one("SpaceToDepth", "space", {"x": floats("sd", 2, 3, 4, 6)}, blocksize=2),
        one("Trilu", "triu", {"x": x}),
        one("Trilu", "tril", {"x": x}, {"k": np.int64(-1)}, upper=0),
        one("EyeLike", "eye", {"x": floats("eye", 3, 5)}, k=1),
    ]
    return cases


def gathers() -> list[Case]:
    """Gathers, scatters and one-hot vectors, with indices from both ends."""
    rng = rng_of("gathers")
    x = floats("g", 5, 17, 6)
    cases = []
    for axis in (0, 1, 2, -1):
        size = x.shape[axis]
        for shape in ((), (4,), (2, 3)):
            i = rng.integers(-size, size, shape)
            cases.append(one("Gather", f"gather_{axis}_{shape}", {"x": x, "i": np.asarray(i)}, axis=axis))
    cases.append(one("Gather", "gather_int32", {"x": x, "i": np.array([0, -1, 2], "int32")}))
    cases.append(one("Gather", "gather_constant", {"x": x}, {"i": i64(0, -1, 2)}))
    cases.append(
        one(
            "Gather",
            "gather_table",
            {"i": rng.integers(0, 99, (2, 17))},
            {"x": floats("t", 99, 32)},
            order=["x", "i"],
        )
    )
    cases.append(one("Gather", "gather_empty", {"x": x, "i": np.zeros((0,), "int64")}))
    for axis in (0, 1, 2):
        i = rng.integers(-x.shape[axis], x.shape[axis], (5, 3, 6) if axis == 1 else x.shape)
        cases.append(one("GatherElements", f"gather_elements_{axis}", {"x": x, "i": i}, axis=axis))
        shape = [2, 3, 4]
        indices = np.stack(np.meshgrid(*[np.arange(s) for s in shape], indexing="ij"))[axis]
        indices = np.where(rng.random(shape) > 0.5, indices, indices - x.shape[axis])
        update = floats(f"u{axis}", *shape)
        cases.append(one("ScatterElements", f"scatter_elements_{axis}", {"x": x, "i": indices, "u": update}, axis=axis))
    nd = np.stack([rng.integers(0, 5, (4, 3)), rng.integers(-17, 17, (4, 3))], axis=-1)
    cases += [
        one("GatherND", "gather_nd", {"x": x, "i": nd}),
        one("GatherND", "gather_nd_full", {"x": x, "i": rng.integers(0, 5, (7, 3))}),
        one("GatherND", "gather_nd_batch", {"x": x, "i": rng.integers(0, 6, (5, 2, 1))}, batch_dims=1),
        one(
            "ScatterND",
            "scatter_nd",
            {"x": x, "i": np.array([[0, 1], [4, -1], [2, 3]]), "u": floats("un", 3, 6)},
        ),
        one(
            "ScatterElements",
            "scatter_add",
            {"x": x, "i": np.zeros((2, 3, 4), "int64"), "u": floats("ua", 2, 3, 4)},
            reduction="add",
        ),
        one(
            "OneHot",
            "one_hot",
            {"i": np.array([[0, 2], [-1, 9]])},
            {"d": np.array(5), "v": np.array([0, 1], "float32")},
        ),
    ]
    return cases


def resizes() -> list[Case]:
    """Resizing of images."""
    cases = []

    def resize(
        shape: tuple[int, ...],
        scales: tuple[float, ...] | None = None,
        sizes: tuple[int, ...] | None = None,
        **attrs: Any,
    ) -> None:
        name = f"resize_{shape}_{scales}_{sizes}_{'_'.join(map(str, attrs.values()))}"
        constants: dict[str, Any] = {}
        constants["s"] = np.array(scales, "float32") if scales else i64(*(sizes or ()))
        order = ["x", "", "s"] if scales else ["x", "", "", "s"]
        cases.append(one("Resize", name, {"x": floats(name, *shape)}, constants, order=order, **attrs))

    for shape in ((1, 3, 5, 7), (2, 16, 8, 8), (1, 1, 1, 1)):
        for attrs in (
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            {"mode": "nearest"},
            {"mode": "linear"},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
            {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        ):
            resize(shape, scales=(1.0, 1.0, 2.0, 2.0), **attrs)
    resize((1, 3, 8, 8), sizes=(1, 3, 5, 11), mode="linear")
    resize((1, 3, 8, 8), sizes=(1, 3, 5, 11), mode="nearest", nearest_mode="ceil")
    resize(
        (1, 3, 8, 8),
        scales=(1.0, 1.0, 0.5, 0.5),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    resize((1, 3, 8, 8), scales=(1.0, 1.0, 2.0, 2.0), mode="cubic")
    resize((1, 3, 9), scales=(1.0, 1.0, 2.0), mode="linear")
    resize(
        (1, 2, 3, 4, 5),
        scales=(1.0, 1.0, 2.0, 2.0, 2.0),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    resize((1, 16, 40, 40), scales=(1.0, 1.0, 2.0, 2.0), mode="linear")
    for attrs in (
        {"mode": "linear", "antialias": 1},
        {"mode": "cubic", "antialias": 1},
        {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "pytorch_half_pixel",
            "nearest_mode": "round_prefer_ceil",
        },
    ):
        resize((1, 3, 8, 9), scales=(1.0, 1.0, 0.6, 1.7), **attrs)
    for way in ("ceil", "floor"):  # of positions in the middle, which 8 / 7 of float32 misses
        resize((1, 1, 7, 7), sizes=(1, 1, 8, 38), mode="nearest", coordinate_transformation_mode="asymmetric",
               nearest_mode=f"round_prefer_{way}")  # fmt: skip
    resize((2, 3, 4, 5), scales=(2.0, 1.5), mode="linear", axes=[3, 2])
    resize((1, 2, 6, 9), sizes=(12, 12), axes=[2, 3], mode="linear", keep_aspect_ratio_policy="not_larger")
    x, region = floats("crop", 1, 2, 6, 7), np.array([0, 0, 0.2, -0.1, 1, 1, 0.9, 0.8], "float32")
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
    cases.append(one("Resize", "crop", {"x": x}, {"r": region, "s": i64(1, 2, 5, 8)},
                     order=["x", "r", "", "s"], mode="linear", **crop))  # fmt: skip
    return cases


def edges() -> list[Case]:
    """Empty and scalar tensors, inputs that are outputs, kernels named like functions of libm."""
    from onnx import helper

    node = helper.make_node
    empty, scalar = np.zeros((0, 3), "float32"), np.float32(2).reshape(())
    cases = [
        one("Relu", "empty", {"x": empty}),
        one("Transpose", "empty_transpose", {"x": empty}),
        one(
            "MatMul",
            "empty_rows",
            {"a": empty, "b": floats("b", 3, 4)},
            expected=(np.zeros((0, 4), "float32"),),
        ),
        one(
            "MatMul",
            "empty_sum",
            {"a": empty.T.copy(), "b": np.zeros((0, 4), "float32")},
            expected=(np.zeros((3, 4), "float32"),),
        ),
        one("Exp", "scalar", {"x": scalar}),
        one("Add", "scalars", {"x": scalar, "y0": scalar}),
        one("Identity", "identity", {"x": floats("i", 3, 17)}),
        one("Flatten", "flatten", {"x": floats("i", 2, 3, 4)}, axis=2),
        one("Shape", "shape", {"x": floats("i", 2, 3, 4)}),
        one("Size", "size", {"x": floats("i", 2, 3, 4)}),
        Case(
            "input_twice",
            [node("Identity", ["x"], ["y"]), node("Identity", ["x"], ["z"])],
            {"x": floats("i", 5)},
            outputs=("y", "z"),
        ),
        Case(
            "constant",
            [node("Add", ["c", "d"], ["y"]), node("Relu", ["x"], ["z"])],
            {"x": floats("i", 5)},
            {"c": floats("c", 3), "d": floats("d", 3)},
            ("y", "z"),
        ),
        Case(
            "view",
            [node("Relu", ["x"], ["r"]), node("Reshape", ["r", "s"], ["y"]), node("Neg", ["r"], ["z"])],
            {"x": floats("v", 4, 6)},
            {"s": i64(3, 8)},
            ("y", "z", "r"),
        ),
    ]
    for number in range(3):
        cases.append(
            Case(
                f"same_names_{number}",
                [
                    node("Conv", ["x", "w"], ["a"], name="conv"),
                    node("Conv", ["a", "v"], ["b"], name="conv"),
                    node("Conv", ["b", "v"], ["y"], name="conv"),
                ],
                {"x": floats(f"sx{number}", 1, 3, 6, 6)},
                {"w": floats(f"sw{number}", 4, 3, 1, 1), "v": floats(f"sv{number}", 4, 4, 1, 1)},
            )
        )
    return cases


FAMILIES = {"move": moves, "gather": gathers, "resize": resizes, "edge": edges}
