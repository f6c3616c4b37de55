"""Products and convolutions of 8-bit integers, whose results are exact."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, helper

from tests.kernels.grid import Array, Case, one, rng_of

# Of weights. Any two that are SMALL keep `pmaddubsw` from saturating; of products with four that are TINY, which have
# one sign, the sum fits 16 bits.
LARGEST, SMALL, TINY = 127, 64, 63


def data_of(name: str, dtype: str, *shape: int) -> Array:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.asarray(rng_of(name).integers(low, high + 1, shape), dtype)


def weights_of(name: str, largest: int, *shape: int) -> Array:
    return np.asarray(rng_of(f"{name} weights").integers(-largest, largest + 1, shape), np.int8)


def convolved(
    x: Array, w: Array, zero: int, padding: int = 0, stride: int = 1, dilation: int = 1, group: int = 1
) -> Array:
    """The int32 convolution of x [N, C, H, W] by w [O, C / group, KH, KW], with margins of the zero point."""
    wide = np.pad(x.astype(np.int32) - zero, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    rows, columns = w.shape[2:]
    channels = w.shape[0] // group
    height, width = (
        (size - (kernel - 1) * dilation - 1) // stride + 1
        for size, kernel in zip(wide.shape[2:], w.shape[2:], strict=True)
    )
    result = np.zeros((x.shape[0], w.shape[0], height, width), np.int32)
    for g in range(group):
        part = wide[:, g * w.shape[1] : (g + 1) * w.shape[1]]
        for row in range(rows):
            for column in range(columns):
                seen = part[:, :, row * dilation :, column * dilation :]
                seen = seen[:, :, : (height - 1) * stride + 1 : stride, : (width - 1) * stride + 1 : stride]
                taps = w[g * channels : (g + 1) * channels, :, row, column].astype(np.int32)
                result[:, g * channels : (g + 1) * channels] += np.einsum("nchw,oc->nohw", seen, taps)
    return result


def convolution(
    name: str,
    x: Array,
    w: Array,
    zero: int = 0,
    padding: int = 0,
    stride: int = 1,
    dilation: int = 1,
    group: int = 1,
) -> Case:
    return one(
        "ConvInteger",
        name,
        {"x": x},
        {"w": w, "zero": np.array(zero, x.dtype)},
        expected=(convolved(x, w, zero, padding, stride, dilation, group),),
        pads=[padding] * 4,
        strides=[stride] * 2,
        dilations=[dilation] * 2,
        group=group,
    )


def product(name: str, x: Array, w: Array) -> Case:
    expected = x.astype(np.int32) @ w.astype(np.int32)
    return one("MatMulInteger", name, {"x": x}, {"w": w}, expected=(expected,))


def products() -> list[Case]:
    return list(_products())


def convolutions() -> list[Case]:
    return list(_convolutions())


def depthwise() -> list[Case]:
    return list(_depthwise())


def _products() -> Iterator[Case]:
    for dtype in ("uint8", "int8"):
        for largest in (LARGEST, SMALL, TINY):
            for rows, inputs, outputs in ((1, 1, 1), (5, 7, 3), (13, 66, 70), (2, 130, 17), (9, 32, 40), (6, 48, 9)):
                name = f"product {rows}x{inputs}x{outputs} {dtype} {largest}"
                yield product(name, data_of(name, dtype, rows, inputs), weights_of(name, largest, inputs, outputs))
    for dtype, value in (("uint8", 255), ("int8", -128), ("int8", 127)):
        for weight in (-128, -127, -64, -TINY, TINY, 64, 127):
            x, w = np.full((7, 68), value, dtype), np.full((68, 33), weight, np.int8)
            yield product(f"product of {value} by {weight}", x, w)
    batch = data_of("batch", "uint8", 2, 3, 5, 12)
    yield product("product of a batch", batch, weights_of("batch", LARGEST, 12, 24))


def _convolutions() -> Iterator[Case]:
    for number, (channels, outputs, size, kernel) in enumerate(
        (
            (3, 16, 9, 3),
            (5, 17, 7, 3),
            (64, 40, 6, 3),
            (12, 8, 5, 1),
            (33, 65, 4, 1),
            (1, 4, 8, 5),
            (16, 48, 1, 3),
            (112, 20, 3, 3),
        )
    ):
        for dtype, zero in (("uint8", 7), ("int8", -3)):
            for settings in ({}, {"stride": 2}, {"dilation": 2}):
                largest = (LARGEST, TINY)[number % 2]
                name = f"convolution {channels} to {outputs} of {size}, {kernel}x{kernel} {dtype} {settings}"
                x, w = data_of(name, dtype, 2, channels, size, size), (outputs, channels, kernel, kernel)
                yield convolution(name, x, weights_of(name, largest, *w), zero, kernel - 1, **settings)
    for group in (2, 3):
        for channels, outputs in ((4, 3), (16, 24)):
            name = f"convolution in {group} groups of {channels} to {outputs}"
            x = data_of(name, "uint8", 1, group * channels, 6, 6)
            w = weights_of(name, LARGEST, group * outputs, channels, 3, 3)
            yield convolution(name, x, w, 128, 1, group=group)
    for value, weight in ((255, 127), (255, -127), (0, 127), (0, 64), (0, -64), (0, TINY)):
        x, w = np.full((1, 16, 5, 5), value, np.uint8), np.full((32, 16, 3, 3), weight, np.int8)
        yield convolution(f"convolution of {value} by {weight}", x, w, 0, 1)
    for channels, rows, columns in ((1, 5, 4), (1, 5, 5), (2, 3, 3), (3, 1, 7)):
        for dtype in ("uint8", "int8"):
            for settings in ({}, {"stride": 2}, {"dilation": 2}):
                name = f"convolution of few channels, {channels}, {rows}x{columns} {dtype} {settings}"
                x, w = data_of(name, dtype, 2, channels, 11, 13), (19, channels, rows, columns)
                yield convolution(name, x, weights_of(name, SMALL, *w), 3, **settings)
        # Two neighbours of a row are too large together, though a channel has no neighbour.
        x, w = np.full((1, channels, 8, 9), 255, np.uint8), np.full((5, channels, rows, columns), 127, np.int8)
        w[:, 1:] = 0
        yield convolution(f"convolution of few large channels, {channels}, {rows}x{columns}", x, w)
    yield winograd()


def winograd() -> Case:
    """A convolution whose sums are as large as they get, large enough for Winograd's way where integers have it."""
    x, w = np.full((1, 512, 7, 7), 255, np.uint8), np.full((24, 512, 3, 3), -128, np.int8)
    x[:, :, 3:5, 2:4], w[::2] = 0, 127
    return convolution("convolution of 512 large numbers", x, w, 0, 1)


def at_the_limit(name: str, channels: int, kernel: int) -> Array:
    """Filters [channels, 1, kernel, kernel], in runs of five taps of which the magnitudes add up to 255."""
    rng, taps = rng_of(name), kernel * kernel
    made = np.zeros((channels, -(-taps // 5) * 5), np.int8)
    for channel, run in np.ndindex(channels, made.shape[1] // 5):
        values = ([127, 127, 1, 0, 0], [51] * 5, [127, 64, 32, 16, 16])[rng.integers(3)]
        signs = (np.ones(5), -np.ones(5), rng.choice([-1, 1], 5))[rng.integers(3)]
        made[channel, 5 * run : 5 * run + 5] = rng.permutation(values) * signs
    return made[:, :taps].reshape(channels, 1, kernel, kernel)


def winograd_in_whole_numbers() -> list[Case]:
    """Convolutions for Winograd's way on NEON, with tiles of 4 and of 2, of parts of an image and of all of it."""
    cases = []
    for number, (n, channels, outputs, height, width) in enumerate(
        ((1, 16, 16, 16, 16), (2, 33, 24, 7, 9), (1, 20, 29, 30, 13), (1, 256, 150, 6, 6))
    ):
        name, dtype = f"winograd of {channels} to {outputs}", ("int8", "uint8")[number % 2]
        x, w = data_of(name, dtype, n, channels, height, width), weights_of(name, TINY, outputs, channels, 3, 3)
        cases.append(convolution(name, x, w, 7, 1))
    for values in ((-128, 127), (-128, -128)):
        for weights in ((-127, 127), (127, 127)):
            name = f"winograd of {values} by {weights}"
            x = np.asarray(rng_of(name).choice(values, (1, 16, 16, 16)), np.int8)
            w = np.asarray(rng_of(f"{name} weights").choice(weights, (16, 16, 3, 3)), np.int8)
            cases.append(convolution(name, x, w, 0, 1))
    return cases


def _depthwise() -> Iterator[Case]:
    for channels in (5, 16, 32, 33, 72):
        for dtype, zero in (("uint8", 128), ("int8", 5)):
            for kernel, settings in ((3, {}), (3, {"stride": 2}), (3, {"dilation": 2}), (5, {}), (5, {"stride": 2})):
                name = f"depthwise {channels} {kernel}x{kernel} {dtype} {settings}"
                x, w = data_of(name, dtype, 2, channels, 11, 9), weights_of(name, LARGEST, channels, 1, kernel, kernel)
                yield convolution(name, x, w, zero, kernel // 2, group=channels, **settings)
    for channels, height, width in ((64, 1, 1), (64, 8, 19), (97, 7, 1), (130, 1, 5), (144, 4, 9)):
        for kernel, settings in ((3, {}), (3, {"stride": 2}), (3, {"dilation": 2}), (5, {}), (5, {"stride": 2})):
            name = f"depthwise of {channels} channels, {height} by {width}, {kernel}x{kernel} {settings}"
            x, w = (2, channels, height, width), weights_of(name, LARGEST, channels, 1, kernel, kernel)
            yield convolution(name, data_of(name, "uint8", *x), w, 9, kernel - 1, group=channels, **settings)
    for kernel in (2, 4, 7):
        name = f"depthwise of {kernel}x{kernel}"
        x, w = data_of(name, "uint8", 1, 24, 9, 9), weights_of(name, LARGEST, 24, 1, kernel, kernel)
        yield convolution(name, x, w, 3, 1, group=24)
    for kernel in (1, 3, 5):
        for dtype, largest in (("uint8", 255), ("int8", -128)):
            name = f"depthwise of weights at the limit of 16 bits, {kernel}x{kernel} {dtype}"
            x = data_of(name, dtype, 1, 40, 8, 8)
            x[:, :, 2:] = np.where(rng_of(name).random(x[:, :, 2:].shape) < 0.9, largest, 0)
            yield convolution(name, x, at_the_limit(name, 40, kernel), 0, kernel // 2, group=40)
    for dtype, value in (("uint8", 255), ("int8", -128), ("uint8", 0)):
        for weight in (-128, 127, 85, 51, -51, 28):
            x, w = np.full((1, 32, 1, 1), value, dtype), np.full((32, 1, 3, 3), weight, np.int8)
            yield convolution(f"depthwise of {value} by {weight}", x, w, 0, 1, group=32)
            x = np.full((1, 32, 6, 6), value, dtype)
            yield convolution(f"depthwise of many {value} by {weight}", x, w, 0, 1, group=32)


def requantised() -> list[Case]:
    """Filters for each channel, and products, with results of 8 bits, beyond them too; the scales are powers of two."""
    cases = []
    for channels in (16, 24, 64, 80, 100, 120, 144):
        for zero, least in ((0, 0), (121, 0), (128, 130)):
            cases.append(_requantised(channels, channels, zero, least))
    for channels in (16, 32, 37, 96):
        cases += [_requantised(channels, 1, zero, least) for zero, least in ((0, 0), (121, 130))]
    # Beyond 32-bit integers, with factors and with summands that programs are told of or not.
    for group, bias in ((1, 0.0), (64, 0.0), (1, 3e9), (64, -3e9), (1, 70000.0)):
        cases.append(_requantised(64, group, 3, 0, powers=(9, 21), bias=bias))
        cases.append(_requantised(64, group, -5, -128, powers=(-11, -5), bias=bias, dtype="int8"))
    return cases


def _requantised(
    channels: int,
    group: int,
    zero: int,
    least: int,
    powers: tuple[int, int] = (-11, -5),
    bias: float = 0.0,
    dtype: str = "uint8",
) -> Case:
    """A convolution, times a power of two for each channel, plus `bias` for every other one, clipped from below."""
    name = f"requantised {channels} / {group} around {zero} from {least} by 2^{powers} plus {bias}"
    kernel = 3 if group > 1 else 1
    x = data_of(name, "uint8", 2, channels, 6, 9)
    w = weights_of(name, LARGEST, channels, channels // group, kernel, kernel)
    by = np.exp2(rng_of(name).integers(*powers, channels)).astype(np.float32)[:, None, None]
    summand = np.where(np.arange(channels) % 2, 0, bias).astype(np.float32)[:, None, None]
    real = convolved(x, w, 3, kernel // 2, group=group).astype(np.float32) * by + summand
    wanted = np.clip(np.round(np.maximum(real.astype(np.float64), least - zero)) + zero, *limits_of(dtype))
    constants = {"x_zero": np.array(3, np.uint8), "w": w, "by": by, "one": np.array(1, np.float32)}
    constants |= {"zero": np.array(zero, dtype), "least": np.array(least - zero, np.float32), "summand": summand}
    nodes = [
        helper.make_node("ConvInteger", ["x", "w", "x_zero"], ["sums"], group=group, pads=[kernel // 2] * 4),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "by"], ["scaled"]),
        helper.make_node("Add", ["scaled", "summand"], ["real"]),
        helper.make_node("Clip", ["real", "least"], ["clipped"]),
        helper.make_node("QuantizeLinear", ["clipped", "one", "zero"], ["y"]),
    ]
    return Case(name, nodes, {"x": x}, constants, expected=(wanted.astype(dtype),))


def limits_of(dtype: str) -> tuple[int, int]:
    """The least and the greatest integer of a type."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def rounded() -> list[Case]:
    """Halves, and what is beyond every bound, to 8 bits with even and odd zero points."""
    values = np.concatenate([np.arange(-300, 300, 0.5), [1e9, -1e9, 3e38, -3e38, np.inf, -np.inf]]).astype(np.float32)
    cases = []
    for dtype, zeros in (("uint8", (0, 1, 128, 255)), ("int8", (0, -128, -3, 127))):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for zero in zeros:
            for least, most in ((-np.inf, np.inf), (0.0, np.inf), (-1.5, 3.5), (-999.0, 999.0)):
                wanted = np.clip(np.round(np.clip(values, least, most)) + zero, low, high).astype(dtype)
                bounds = {"least": np.array(least, np.float32), "most": np.array(most, np.float32)}
                nodes = [
                    helper.make_node("Clip", ["x", "least", "most"], ["clipped"]),
                    helper.make_node("QuantizeLinear", ["clipped", "one", "zero"], ["y"]),
                ]
                constants = bounds | {"one": np.array(1, np.float32), "zero": np.array(zero, dtype)}
                name = f"rounded to {dtype} around {zero} from {least} to {most}"
                cases.append(Case(name, nodes, {"x": values}, constants, expected=(wanted,)))
    return cases


def quotients() -> list[Case]:
    """Multiples and halves of a scale, and their neighbours, by the scale."""
    cases = []
    for scale in (0.0235294122248888, 0.1, 3.0, 1e-3, 7e20, 1.1e-30):
        halves = np.arange(-300, 300, 0.5).astype(np.float32) * np.float32(scale)
        near = [halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))]
        x = np.concatenate([*near, np.array([3e38, -3e38, np.inf, -np.inf], np.float32)])
        with np.errstate(over="ignore"):
            wanted = np.clip(np.round(x / np.float32(scale)) + 3, 0, 255).astype(np.uint8)
        constants = {"scale": np.array(scale, np.float32), "zero": np.array(3, np.uint8)}
        cases.append(one("QuantizeLinear", f"quantised by {scale}", {"x": x}, constants, expected=(wanted,)))
    # A function that is written out before the division.
    x = rng_of("sigmoid").choice(np.array([-200, 0, 200], np.float32), (3, 96))
    wanted = np.array([5, 133, 255], np.uint8)[np.sign(x).astype(int) + 1]
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s"]),
        helper.make_node("QuantizeLinear", ["s", "scale", "zero"], ["y"]),
    ]
    constants = {"scale": np.array(1 / 256, np.float32), "zero": np.array(5, np.uint8)}
    cases.append(Case("quantised after a sigmoid", nodes, {"x": x}, constants, expected=(wanted,)))
    return cases


def normalised() -> list[Case]:
    """Softmax and layer normalisation of the real numbers of bytes, or of floats, whose results become bytes."""
    return [
        _normalised(operator, shape, data, result)
        for operator in ("Softmax", "LayerNormalization")
        for shape in ((1, 1), (3, 17), (17, 16), (2, 5, 64), (9, 192), (1, 2500))
        for data, result in (("float32", "uint8"), ("int8", "int8"), ("uint8", "uint8"))
    ]


def _normalised(operator: str, shape: tuple[int, ...], data: str, result: str) -> Case:
    name = f"{operator} of {data} {shape} to {result}"
    rng = rng_of(name)
    x = rng.standard_normal(shape).astype(np.float32) if data == "float32" else data_of(name, data, *shape)
    constants = {"step": np.array(0.03, np.float32), "middle": np.array(7, "int8" if data == "float32" else data)}
    nodes = [helper.make_node("DequantizeLinear", ["x", "step", "middle"], ["r"])] if data != "float32" else []
    real = (x if data == "float32" else (x.astype(np.float32) - 7) * np.float32(0.03)).astype(np.float64)
    first = "x" if data == "float32" else "r"
    if operator == "Softmax":
        nodes.append(helper.make_node(operator, [first], ["n"]))
        exact = np.exp(real - real.max(-1, keepdims=True))
        exact /= exact.sum(-1, keepdims=True)
    else:
        factor, bias = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(2))
        constants |= {"factor": factor, "bias": bias}
        nodes.append(helper.make_node(operator, [first, "factor", "bias"], ["n"], epsilon=1e-3))
        centred = real - real.mean(-1, keepdims=True)
        exact = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3) * factor + bias
    # A scale by which nothing is so near the middle of two integers that rounding decides.
    scales = (np.float32(np.abs(exact).max() / (100 + n)) for n in range(100))
    scale = next(s for s in scales if np.abs(exact / s % 1 - 0.5).min() > 5e-5)
    limits = np.iinfo(result)
    wanted = np.clip(np.round(exact / scale) + 3, limits.min, limits.max).astype(result)
    nodes.append(helper.make_node("QuantizeLinear", ["n", "scale", "zero"], ["y"]))
    constants |= {"scale": np.array(scale), "zero": np.array(3, result)}
    return Case(name, nodes, {"x": x}, constants, expected=(wanted,))


FAMILIES = {
    "integer_products": products,
    "integer_convolutions": convolutions,
    "integer_depthwise": depthwise,
    "requantised": requantised,
    "rounded": rounded,
    "quotients": quotients,
    "normalised": normalised,
}
