"""Fused float operators of com.microsoft, activations, normalisations and weights of few bits."""

from __future__ import annotations

import math

from .body import FLOAT, FLOAT16, INT32, Body, Call, Refused


def activate(call: Call, x: str, name: str, parameters: list[float]) -> str:
    """onnxruntime's fused activations; `parameters` in the order of the operator's attributes."""
    attributes = {
        "": [],
        "Relu": [],
        "Tanh": [],
        "Sigmoid": [],
        "LeakyRelu": ["alpha"],
        "HardSigmoid": ["alpha", "beta"],
        "Clip": ["min", "max"],
    }.get(name)
    if attributes is None:
        raise Refused(f"its activation {name!r} is not supported")
    if not name:
        return x
    if name == "Clip":
        low, high = (*parameters, -math.inf, math.inf)[:2] if len(parameters) == 2 else (-math.inf, math.inf)
        return call.op("Clip", x, call.number(low), call.number(high))
    given = [f"{key} = {value!r}" for key, value in zip(attributes, parameters, strict=False)]
    return call.op(f"{name} <{', '.join(given)}>" if given else name, x)


def _conv(call: Call) -> None:
    window = call.pass_on("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    y = call.op(f"Conv {window}", *[n for n in ("X", "W", "B") if call.has(n)])
    if call.has("Z"):
        y = call.op("Add", y, "Z")
    parameters = list(call.attribute("activation_params", []))
    call.let("Y", "Identity", activate(call, y, call.attribute("activation", ""), parameters))


def _gemm(call: Call) -> None:
    y = call.op(f"Gemm {call.pass_on('alpha', 'beta', 'transA', 'transB')}", *[n for n in "ABC" if call.has(n)])
    values = [call.attribute(f"activation_{name}", None) for name in ("alpha", "beta", "gamma")]
    parameters = [value for value in values if value is not None]
    call.let("Y", "Identity", activate(call, y, call.attribute("activation", ""), parameters))


def _matmul(call: Call) -> None:
    sides = []
    for side in "AB":
        x, rank = side, len(call.shape(side))
        axes = list(range(rank))
        if call.attribute(f"transBatch{side}", 0) and rank > 2:
            axes = [*axes[1:-1], 0, axes[-1]]
        if call.attribute(f"trans{side}", 0) and rank > 1:
            axes[-2:] = axes[:-3:-1]
        sides.append(x if axes == sorted(axes) else call.op(f"Transpose <perm = {axes}>", x))
    y = call.op("MatMul", *sides)
    alpha = call.attribute("alpha", 1.0)
    call.let("Y", "Identity" if alpha == 1 else "Mul", y, *([] if alpha == 1 else [call.number(alpha, call.elem("A"))]))


def gelu(call: Call, x: str, elem_type: int) -> str:
    half, one, root = (call.number(v, elem_type) for v in (0.5, 1, math.sqrt(0.5)))
    bell = call.op("Add", one, call.op("Erf", call.op("Mul", x, root)))
    return call.op("Mul", call.op("Mul", x, half), bell)


def _gelu(call: Call) -> None:
    call.let("Y", "Identity", gelu(call, "X", call.elem("X")))


def _bias_gelu(call: Call) -> None:
    call.let("C", "Identity", gelu(call, call.op("Add", "A", "B"), call.elem("A")))


def _bias_split_gelu(call: Call) -> None:
    """[…, 2 n] → […, n]: the left half times the Gelu of the right one."""
    x, half = call.op("Add", "X", "bias"), call.shape("X")[-1] // 2
    left = call.op("Slice", x, call.ints(0), call.ints(half), call.ints(-1))
    right = call.op("Slice", x, call.ints(half), call.ints(2 * half), call.ints(-1))
    call.let("Y", "Mul", left, gelu(call, right, call.elem("X")))


def _fast_gelu(call: Call) -> None:
    """By tanh: Hendrycks and Gimpel, arXiv:1606.08415."""
    kind = call.elem("X")
    x = call.op("Add", "X", "bias") if call.has("bias") else "X"
    half, one, linear, cubic = (call.number(v, kind) for v in (0.5, 1, 0.7978845608028654, 0.035677408136300125))
    slope = call.op("Add", linear, call.op("Mul", cubic, call.op("Mul", x, x)))
    bell = call.op("Add", one, call.op("Tanh", call.op("Mul", x, slope)))
    call.let("Y", "Mul", call.op("Mul", x, half), bell)


def _quick_gelu(call: Call) -> None:
    alpha = call.number(call.attribute("alpha", 1.702), call.elem("X"))
    call.let("Y", "Mul", "X", call.op("Sigmoid", call.op("Mul", "X", alpha)))


def normalize(call: Call, x: str, kind: int, axes: list[int], epsilon: float, centre: bool) -> tuple[str, str, str]:
    """x over its deviation, in float32 for 16-bit floats; the mean ("" without `centre`), and 1 / deviation."""
    wide = kind if kind not in (FLOAT16, 16) else FLOAT
    x = x if wide == kind else call.cast(x, wide)
    mean = call.mean(x, axes) if centre else ""
    x = call.op("Sub", x, mean) if centre else x
    variance = call.mean(call.op("Mul", x, x), axes)
    deviation = call.op("Sqrt", call.op("Add", variance, call.number(epsilon, wide)))
    y = call.op("Div", x, deviation)
    return (y if wide == kind else call.cast(y, kind)), mean, call.op("Reciprocal", deviation)


def _layer_norm(call: Call) -> None:
    call.only(stash_type=1)
    kind, rank = call.elem("X"), len(call.shape("X"))
    axes = list(range(call.attribute("axis", -1) % rank, rank))
    y, mean, inverse = normalize(call, "X", kind, axes, call.attribute("epsilon", 1e-5), True)
    y = call.op("Mul", y, "scale")
    call.let("Y", "Add", y, "B") if call.has("B") else call.let("Y", "Identity", y)
    call.let("Mean", "Identity", mean)
    call.let("InvStdDev", "Identity", inverse)


def _simplified_layer_norm(call: Call) -> None:
    call.only(stash_type=1)
    rank = len(call.shape("X"))
    axes = list(range(call.attribute("axis", -1) % rank, rank))
    y, _, inverse = normalize(call, "X", call.elem("X"), axes, call.attribute("epsilon", 1e-5), False)
    call.let("Y", "Mul", y, "scale")
    call.let("inverse", "Identity", inverse)


def _skip_layer_norm(call: Call) -> None:
    x = call.op("Add", "input", "skip")
    if call.has("bias"):
        x = call.op("Add", x, "bias")
    centre = "beta" in call.formals
    y, mean, inverse = normalize(call, x, call.elem("input"), [-1], call.attribute("epsilon", 1e-12), centre)
    y = call.op("Mul", y, "gamma")
    call.let("Y", "Add", y, "beta") if centre and call.has("beta") else call.let("Y", "Identity", y)
    if centre:
        call.let("Mean", "Identity", mean)
    call.let("inverse", "Identity", inverse)
    call.let("sum", "Identity", x)


def _embed_layer_norm(call: Call) -> None:
    if call.attribute("mask_index_type", 1) not in (0, 1):
        raise Refused("its attribute mask_index_type is supported as 0 or 1 only")
    kind, (batch, length) = call.elem("word"), call.shape("ids")
    x = call.op("Gather", "word", "ids")
    if call.has("positions"):
        x = call.op("Add", x, call.op("Gather", "position", "positions"))
    else:
        x = call.op("Add", x, call.op("Slice", "position", call.ints(0), call.ints(length), call.ints(0)))
    if call.has("segments") != call.has("segment"):
        raise Refused("it has segments without their embedding, or the other way round")
    if call.has("segments"):
        x = call.op("Add", x, call.op("Gather", "segment", "segments"))
    y = normalize(call, x, kind, [-1], call.attribute("epsilon", 1e-12), True)[0]
    call.let("Y", "Add", call.op("Mul", y, "gamma"), "beta")
    if call.has("mask"):
        one = call.cast(call.op("Equal", "mask", call.number(1, INT32)), INT32)
        call.let("index", "ReduceSum <keepdims = 0>", one, call.ints(1))
    else:
        call.let("index", "Expand", call.number(0, INT32), call.ints(batch))
    call.let("sum", "Identity", x)


def _few_bits(call: Call) -> None:
    """Weights [N, blocks, bytes] of 4 or 8 bits, low bits first, with a scale and a zero point for each block."""
    n, k, block, bits = (call.attribute(name, None) for name in ("N", "K", "block_size", "bits"))
    bits = 4 if bits is None else bits
    call.attribute("accuracy_level", 0)  # how far onnxruntime may round; here nothing is rounded
    call.only(weight_prepacked=0)
    if bits not in (4, 8):
        raise Refused(f"weights of {bits} bits are not supported")
    if call.has("groups"):
        raise Refused("groups in another order (g_idx) are not supported")
    kind, blocks = call.elem("A"), -(-k // block)
    weights = call.op("Reshape", _unpack(call, "B", bits, n), call.ints(n, blocks, block))
    scales = call.op("Reshape", "scales", call.ints(n, blocks, 1))
    if not call.has("zeros"):
        zeros = call.number(1 << (bits - 1))
    elif call.elem("zeros") == 2:
        each = call.op("Slice", _unpack(call, "zeros", bits, n), call.ints(0), call.ints(blocks), call.ints(1))
        zeros = call.op("Reshape", each, call.ints(n, blocks, 1))
    else:
        zeros = call.cast(call.op("Reshape", "zeros", call.ints(n, blocks, 1)), FLOAT)
    weights = call.op("Mul", call.op("Sub", weights, zeros), call.cast(scales, FLOAT))
    weights = call.op("Reshape", weights, call.ints(n, blocks * block))
    if blocks * block > k:
        weights = call.op("Slice", weights, call.ints(0), call.ints(k), call.ints(1))
    weights = call.op("Transpose <perm = [1, 0]>", weights if kind == FLOAT else call.cast(weights, kind))
    y = call.op("MatMul", "A", weights)
    call.let("Y", "Add", y, "bias") if call.has("bias") else call.let("Y", "Identity", y)


def _unpack(call: Call, x: str, bits: int, rows: int) -> str:
    """Bytes → their numbers of `bits` bits, [rows, numbers] of float32."""
    flat = call.op("Reshape", x, call.ints(rows, -1))
    if bits == 8:
        return call.cast(flat, FLOAT)
    wide, steps = call.cast(flat, INT32), call.number(16, INT32)
    halves = [call.op("Unsqueeze", call.op(op, wide, steps), call.ints(2)) for op in ("Mod", "Div")]
    pairs = call.op("Concat <axis = 2>", *halves)
    return call.cast(call.op("Reshape", pairs, call.ints(rows, -1)), FLOAT)


def _last(operator: str, inputs: str, *attributes: str) -> Body:
    """The operator of the default domain on tensors whose channels come last."""

    def write(call: Call) -> None:
        rank = len(call.shape("X"))
        x = call.op(f"Transpose <perm = {[0, rank - 1, *range(1, rank - 1)]}>", "X")
        others = [name for name in call.formals[1:] if call.has(name)]
        y = call.op(f"{operator} {call.pass_on(*attributes)}", x, *others)
        call.let("Y", f"Transpose <perm = {[0, *range(2, rank), 1]}>", y)

    return Body(inputs, "Y", write)


_MS = "com.microsoft"
_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
_SIMPLIFIED = Body("X scale", "Y inverse?", _simplified_layer_norm)
BODIES: dict[tuple[str, str], Body] = {
    # onnxruntime's optimiser writes these two into models of older operator sets.
    ("", "LayerNormalization"): Body("X scale B?", "Y Mean? InvStdDev?", _layer_norm, lambda opset: opset < 17),
    ("", "SimplifiedLayerNormalization"): _SIMPLIFIED,
    (_MS, "BiasGelu"): Body("A B", "C", _bias_gelu),
    (_MS, "BiasSplitGelu"): Body("X bias", "Y", _bias_split_gelu),
    (_MS, "EmbedLayerNormalization"): Body(
        "ids segments? word position segment? gamma beta mask? positions?", "Y index? sum?", _embed_layer_norm
    ),
    (_MS, "FastGelu"): Body("X bias?", "Y", _fast_gelu),
    (_MS, "FusedConv"): Body("X W B? Z?", "Y", _conv),
    (_MS, "FusedGemm"): Body("A B C?", "Y", _gemm),
    (_MS, "FusedMatMul"): Body("A B", "Y", _matmul),
    (_MS, "Gelu"): Body("X", "Y", _gelu),
    (_MS, "LayerNormalization"): Body("X scale B?", "Y Mean? InvStdDev?", _layer_norm),
    (_MS, "MatMulNBits"): Body("A B scales zeros? groups? bias?", "Y", _few_bits),
    (_MS, "NhwcConv"): _last("Conv", "X W B?", *_WINDOW, "group"),
    (_MS, "NhwcMaxPool"): _last("MaxPool", "X", *_WINDOW, "ceil_mode"),
    (_MS, "QuickGelu"): Body("X", "Y", _quick_gelu),
    (_MS, "SimplifiedLayerNormalization"): _SIMPLIFIED,
    (_MS, "SkipLayerNormalization"): Body("input skip gamma beta? bias?", "Y Mean? inverse? sum?", _skip_layer_norm),
    (_MS, "SkipSimplifiedLayerNormalization"): Body(
        "input skip gamma bias?", "Y Mean? inverse? sum?", _skip_layer_norm
    ),
}
