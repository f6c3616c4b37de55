"""Convolutions, products, pooling, normalisations, resizing."""

from __future__ import annotations

import numpy as np

from .builder import MOST_ELEMENTS, Builder, Unfit, Value

_MOST_WEIGHTS = 4000


def _image(g: Builder, least: int = 3, most: int = 5) -> Value:
    """Batch, channels and one to three axes of space."""
    dtypes = (g.main,) if g.main != "float64" else ("float32",)
    found = [v for v in g.pool if v.dtype in dtypes and least <= v.rank <= most and v.array.size and not v.counted]
    if found and g.chance(0.7):
        return g.rng.choice(found)
    rank = g.rng.choices((3, 4, 5), (2, 8, 1))[0]
    space = [g.rng.randint(1, 11 if rank < 5 else 4) for _ in range(max(least, min(rank, most)) - 2)]
    shape = (g.rng.choice((1, 1, 2, 3)), g.rng.choice((1, 2, 3, 4, 5, 8, 12, 16, 17)), *space)
    return g.given(g.array(shape, dtypes[0]), constant=False)


def _windows(g: Builder, value: Value, plain: bool = False) -> tuple[list[int], dict[str, object]]:
    """A kernel's shape, and attributes of where it goes, such that it fits."""
    count = value.rank - 2
    kernel = [g.rng.randint(1, 3) if g.chance(0.9) else g.rng.randint(4, 6) for _ in range(count)]
    dilations = [1 if plain or g.chance(0.8) else 2 for _ in range(count)]
    strides = [g.rng.choice((1, 1, 2, 3)) for _ in range(count)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [g.rng.randint(0, k // 2) if g.chance(0.6) else 0 for k in kernel * 2]
    for axis, size in enumerate(value.shape[2:]):
        if size + pads[axis] + pads[axis + count] < reach[axis]:
            raise Unfit
    attributes: dict[str, object] = {"strides": strides, "dilations": dilations}
    # The references do not agree on windows that are apart and would need padding of less than nothing.
    if g.chance(0.2) and all(k >= s for k, s in zip(kernel, strides, strict=True)):
        attributes["auto_pad"] = g.rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
    else:
        attributes["pads"] = pads
    return kernel, attributes


def conv(g: Builder) -> None:
    value = _image(g)
    channels = value.shape[1]
    group = g.rng.choice([d for d in range(1, channels + 1) if channels % d == 0]) if g.chance(0.4) else 1
    kernel, attributes = _windows(g, value)
    made = group * g.rng.choice((1, 1, 2, 3, 5, 8) if group < 4 else (1, 1, 2))
    shape = (made, channels // group, *kernel)
    if int(np.prod(shape)) > _MOST_WEIGHTS:
        raise Unfit
    weight = g.given(g.array(shape, value.dtype, -0.5, 0.5), constant=g.chance(0.9))
    bias = (g.given(g.array((made,), value.dtype), constant=g.chance(0.9)),) if g.chance(0.6) else ()
    g.add("Conv", value, weight, *bias, group=group, **attributes)


def conv_transpose(g: Builder) -> None:
    value = _image(g, 3, 4)
    channels = value.shape[1]
    group = g.rng.choice([d for d in range(1, channels + 1) if channels % d == 0]) if g.chance(0.3) else 1
    kernel, attributes = _windows(g, value)
    attributes.pop("auto_pad", None)
    strides = attributes["strides"]
    assert isinstance(strides, list)
    if g.chance(0.3):
        attributes["output_padding"] = [g.rng.randint(0, s - 1) for s in strides]
    shape = (channels, g.rng.choice((1, 2, 3, 5)), *kernel)
    if int(np.prod(shape)) > _MOST_WEIGHTS:
        raise Unfit
    weight = g.given(g.array(shape, value.dtype, -0.5, 0.5), constant=True)
    bias = (g.given(g.array((shape[1] * group,), value.dtype), constant=True),) if g.chance(0.6) else ()
    g.add("ConvTranspose", value, weight, *bias, group=group, **attributes)


def pool(g: Builder) -> None:
    value = _image(g)
    operator = g.rng.choice(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"))
    if operator.startswith("Global"):
        g.add(operator, value)
        return
    kernel, attributes = _windows(g, value, plain=operator != "MaxPool")
    pads = attributes.get("pads")
    if isinstance(pads, list):
        attributes["pads"] = [min(p, k - 1) for p, k in zip(pads, kernel * 2, strict=True)]
    if operator == "AveragePool":
        attributes["count_include_pad"] = g.rng.randint(0, 1)
    if operator != "MaxPool":
        attributes.pop("dilations")
    if "auto_pad" not in attributes and operator != "LpPool":
        attributes["ceil_mode"] = int(g.chance(0.2))
    g.add(operator, value, kernel_shape=kernel, **attributes)


def matmul(g: Builder) -> None:
    value = g.pick((g.main,), 1, 4)
    columns = g.rng.choice((1, 2, 3, 5, 8, 16, 19, 33))
    inner = value.shape[-1]
    batch = list(value.shape[:-2]) if value.rank > 2 and g.chance(0.4) else []
    batch = [1 if g.chance(0.2) else size for size in batch]
    shape = [*batch, inner, columns] if g.chance(0.9) else [inner]
    if int(np.prod(shape)) > _MOST_WEIGHTS:
        raise Unfit
    g.add("MatMul", value, g.given(g.array(shape, value.dtype, -0.7, 0.7), constant=g.chance(0.7)))


def gemm(g: Builder) -> None:
    value = g.pick((g.main,), 2, 2)
    trans_a, trans_b = g.rng.randint(0, 1), g.rng.randint(0, 1)
    rows, inner = value.shape[::-1] if trans_a else value.shape
    columns = g.rng.choice((1, 3, 7, 16, 20))
    shape = (columns, inner) if trans_b else (inner, columns)
    weight = g.given(g.array(shape, value.dtype, -0.7, 0.7), constant=g.chance(0.8))
    bias = g.rng.choice(((), (1,), (columns,), (rows, 1), (rows, columns), None))
    third = () if bias is None else (g.given(g.array(bias, value.dtype), constant=g.chance(0.8)),)
    scales = {"alpha": 0.5, "beta": 1.5} if g.chance(0.3) else {}
    g.add("Gemm", value, weight, *third, transA=trans_a, transB=trans_b, **scales)


def einsum(g: Builder) -> None:
    value = g.pick((g.main,), 3, 3)
    b, m, k = value.shape
    equation, shape = g.rng.choice(
        (("bmk,bnk->bmn", (b, 4, k)), ("bmk,kn->bmn", (k, 5)), ("bmk,bm->bk", (b, m)), ("bmk,bmk->b", (b, m, k)))
    )
    g.add("Einsum", value, g.given(g.array(shape, value.dtype)), equation=equation)


def softmax(g: Builder) -> None:
    value = g.pick((g.main,), 1)
    operator = g.rng.choice(("Softmax", "Softmax", "LogSoftmax", "Hardmax"))
    g.add(operator, value, axis=g.axis(value, lambda size: size > 0))


def layer_norm(g: Builder) -> None:
    value = g.pick((g.main,), 1, 4, lambda value: value.array.size > 0)
    axis = g.rng.randint(0, value.rank - 1)
    shape = value.shape[axis:]
    operator = "RMSNormalization" if g.opset >= 23 and g.chance(0.5) else "LayerNormalization"
    tensors = [g.given(g.array(shape, value.dtype), constant=True)]
    if operator == "LayerNormalization" and g.chance(0.7):
        tensors.append(g.given(g.array(shape, value.dtype), constant=True))
    g.add(operator, value, *tensors, axis=axis - value.rank if g.chance(0.5) else axis, epsilon=1e-2)


def channel_norm(g: Builder) -> None:
    value = _image(g)
    channels = value.shape[1]
    operator = g.rng.choice(("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN"))
    if operator == "LRN":
        g.add(operator, value, size=g.rng.choice((1, 3, 5)))
        return
    scale, bias, mean = (g.given(g.array((channels,), value.dtype), constant=True) for _ in range(3))
    if operator == "BatchNormalization":
        g.add(operator, value, scale, bias, mean, g.given(g.array((channels,), value.dtype, 0.2, 2), constant=True))
    elif operator == "InstanceNormalization":
        g.add(operator, value, scale, bias, epsilon=1e-2)
    elif g.opset >= 21:
        groups = g.rng.choice([d for d in range(1, channels + 1) if channels % d == 0])
        g.add(operator, value, scale, bias, num_groups=groups, epsilon=1e-2)


def lp_norm(g: Builder) -> None:
    value = g.pick((g.main,), 1, 4)
    g.add("LpNormalization", value, axis=g.axis(value), p=g.rng.choice((1, 2)))


def resize(g: Builder) -> None:
    value = _image(g, 4, 4)
    mode = g.rng.choice(("nearest", "linear", "cubic"))
    attributes: dict[str, object] = {"mode": mode}
    attributes["coordinate_transformation_mode"] = g.rng.choice(
        ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    )
    if mode == "nearest":
        attributes["nearest_mode"] = g.rng.choice(("round_prefer_floor", "floor", "ceil", "round_prefer_ceil"))
    sizes = [g.rng.randint(1, 2 * size + 1) for size in value.shape[2:]]
    if int(np.prod([*value.shape[:2], *sizes])) > MOST_ELEMENTS:
        raise Unfit
    if g.chance(0.5):
        g.add("Resize", value, None, None, g.integers(*value.shape[:2], *sizes), **attributes)
    else:
        scales = np.array([1, 1, *(g.rng.choice((0.5, 1, 2, 3, 1.5)) for _ in sizes)], np.float32)
        g.add("Resize", value, None, g.given(scales, constant=True), **attributes)


def grid_sample(g: Builder) -> None:
    value = _image(g, 4, 4)
    grid = g.given(g.array((value.shape[0], 3, 4, 2), "float32" if g.opset < 20 else value.dtype, -1.1, 1.1))
    g.add(
        "GridSample", value, grid, mode="bilinear" if g.opset < 20 else "linear",
        padding_mode=g.rng.choice(("zeros", "border", "reflection")), align_corners=g.rng.randint(0, 1),
    )  # fmt: skip


RULES = (
    (10, conv), (2, conv_transpose), (5, pool), (6, matmul), (4, gemm), (1, einsum), (4, softmax), (3, layer_norm),
    (3, channel_norm), (1, lp_norm), (3, resize), (1, grid_sample),
)  # fmt: skip
