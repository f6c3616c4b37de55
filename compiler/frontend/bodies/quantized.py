"""Quantised operators: integer products, scaled as onnxruntime does; others on floats between Q/DQ pairs."""

from __future__ import annotations

import math

import numpy as np

from ..check import VALUE_TYPES
from .body import BOOL, FLOAT, Body, Call, NotYet, Refused

_UINT8, _INT8 = 2, 3
_NARROW = {21: _UINT8, 22: _INT8, 25: _UINT8, 26: _INT8}  # UINT4, INT4, UINT2, INT2: the types that hold them


def _floats(call: Call, x: str, scale: str, zero: str, axis: int | None = None) -> str:
    """The real values of quantised x; several scales of one axis are a 1-D tensor."""
    text = f"<axis = {axis}>" if axis is not None and math.prod(call.shape(scale)) > 1 else ""
    zeros = [zero] if call.has(zero) else []
    return call.op(f"DequantizeLinear {text}", x, scale, *zeros)


def _quantize(call: Call, y: str, scale: str, zero: str, like: str, result: str) -> None:
    """Quantised y; without a zero point its type is that of the input `like`."""
    if not call.has(zero):
        zero = call.number(0, call.elem(like))
    call.let(result, "QuantizeLinear", y, scale, zero)


def _convolution(call: Call) -> None:
    last = call.attribute("channels_last", 0)
    x, rank = "x", len(call.shape("x"))
    if last:
        x = call.op(f"Transpose <perm = {[0, rank - 1, *range(1, rank - 1)]}>", x)
    y = call.op(f"ConvInteger {call.pass_on(*_WINDOW, 'group')}", x, "w", "xz", "wz")
    column = call.ints(-1, *[1] * (rank - 2))
    if call.has("B"):
        y = call.op("Add", y, call.op("Reshape", "B", column))
    scale = _step(call, "xs", "ws", "ys")
    scale = call.op("Reshape", scale, column) if math.prod(call.shape("ws")) > 1 else call.op("Squeeze", scale)
    y = call.op("Mul", call.cast(y, FLOAT), scale)
    if last:
        y = call.op(f"Transpose <perm = {[0, *range(2, rank), 1]}>", y)
    call.let("y", "QuantizeLinear", y, call.number(1), "yz")


_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")


def _matrices(call: Call) -> None:
    y = call.cast(call.op("MatMulInteger", "a", "b", "az", "bz"), FLOAT)
    rows = call.cast("as", FLOAT)
    if len(call.shape("as")) == 1 and call.shape("as")[0] > 1:
        rows = call.op("Unsqueeze", rows, call.ints(1))
    step = _step(call, rows, call.cast("bs", FLOAT), call.cast("ys", FLOAT))
    if math.prod((*call.shape("as"), *call.shape("bs"), *call.shape("ys"))) == 1:
        step = call.op("Squeeze", step)
    call.let("y", "QuantizeLinear", call.op("Mul", y, step), call.number(1), "yz")


def _step(call: Call, x: str, w: str, y: str) -> str:
    """What one step of the integer sums is in steps of the result, rounded as onnxruntime does."""
    return call.op("Div", call.op("Mul", x, w), y)


def _dynamic_matrices(call: Call) -> None:
    aq, scale, zero = call.ops(3, "DynamicQuantizeLinear", "A")
    zeros = [zero, "bz"] if call.has("bz") else [zero]
    _scaled(call, call.op("MatMulInteger", aq, "B", *zeros), call.op("Mul", scale, "bs"))


def _matrices_to_floats(call: Call) -> None:
    if math.prod(call.shape("as")) > 1:
        raise Refused("it has several scales for its first input")
    zeros = [name if call.has(name) else "" for name in ("az", "bz")]
    if not zeros[0] and zeros[1]:
        zeros[0] = call.number(0, call.elem("A"))
    _scaled(call, call.op("MatMulInteger", "A", "B", *filter(None, zeros)), call.op("Mul", "as", "bs"))


def _scaled(call: Call, product: str, scale: str) -> None:
    y = call.op("Mul", call.cast(product, FLOAT), scale)
    call.let("Y", "Add", y, "bias") if call.has("bias") else call.let("Y", "Identity", y)


def _lstm(call: Call) -> None:
    """The state is rounded as the data are; integer_recurrent.py makes that of it."""
    xq, scale, zero = call.ops(3, "DynamicQuantizeLinear", "X")
    weights = [_columns(call, *names) for names in (("W", "ws", "wz"), ("R", "rs", "rz"))]
    optional = [name if call.has(name) else "" for name in ("B", "lengths", "h", "c", "P")]
    results = [name if call.wants(number) else "" for number, name in enumerate(("Y", "Yh", "Yc"))]
    text = call.pass_on(*_RECURRENT)
    x = call.op("DequantizeLinear", xq, scale, zero)
    call.let(", ".join(results), f"LSTM {text}", x, *weights, *optional)


_RECURRENT = (
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
)


def _columns(call: Call, weights: str, scale: str, zero: str) -> str:
    """The real values of constant weights [direction, input, column] as [direction, column, input], with a scale for
    each column or one for each direction."""
    turned = np.ascontiguousarray(call.value(weights).swapaxes(1, 2))
    steps = [np.broadcast_to(call.value(n).reshape(len(turned), -1), turned.shape[:2]) for n in (scale, zero)]
    rows = [call.tensor(turned.reshape(-1, turned.shape[2])), *(call.tensor(step.ravel()) for step in steps)]
    return call.op("Reshape", call.op("DequantizeLinear <axis = 0>", *rows), call.ints(*turned.shape))


def _gemm(call: Call) -> None:
    across = call.attribute("transB", 0)
    alpha = call.number(call.attribute("alpha", 1.0))
    a, b = _floats(call, "A", "as", "az"), _floats(call, "B", "bs", "bz", axis=0 if across else 1)
    y = call.op(f"Gemm {call.pass_on('transA', 'transB', 'alpha')}", a, b)
    if call.has("C"):
        step = call.op("Mul", alpha, call.op("Mul", "as", "bs"))
        y = call.op("Add", y, call.op("Mul", call.cast("C", FLOAT), step))
    if call.has("ys"):
        _quantize(call, y, "ys", "yz", "A", "Y")
    else:
        call.let("Y", "Identity", y)


def _binary(operator: str) -> Body:
    def write(call: Call) -> None:
        a, b = _floats(call, "A", "as", "az"), _floats(call, "B", "bs", "bz")
        _quantize(call, call.op(operator, a, b), "cs", "cz", "A", "C")

    return Body("A as az? B bs bz? cs cz?", "C", write)


def _unary(operator: str, *attributes: str) -> Body:
    def write(call: Call) -> None:
        y = call.op(f"{operator} {call.pass_on(*attributes)}", _floats(call, "X", "xs", "xz"))
        _quantize(call, y, "ys", "yz", "X", "Y")

    return Body("X xs xz? ys yz?", "Y", write)


def _pool(operator: str, *attributes: str) -> Body:
    def write(call: Call) -> None:
        x, rank = _floats(call, "X", "xs", "xz"), len(call.shape("X"))
        last = call.attribute("channels_last", 0)
        if last:
            x = call.op(f"Transpose <perm = {[0, rank - 1, *range(1, rank - 1)]}>", x)
        y = call.op(f"{operator} {call.pass_on(*attributes)}", x)
        if last:
            y = call.op(f"Transpose <perm = {[0, *range(2, rank), 1]}>", y)
        _quantize(call, y, "ys", "yz", "X", "Y")

    return Body("X xs xz? ys yz?", "Y", write)


def _mean(call: Call) -> None:
    y = call.mean(_floats(call, "X", "xs", "xz"), list(call.attribute("axes", [])), call.attribute("keepdims", 1))
    _quantize(call, y, "ys", "yz", "X", "Y")


def _softmax(call: Call) -> None:
    """Before operator set 13, which the attribute `opset` says, it worked on all axes from `axis` on."""
    x, shape = _floats(call, "X", "xs", "xz"), call.shape("X")
    axis = call.attribute("axis", -1) % len(shape)
    if call.attribute("opset", 13) >= 13:
        y = call.op(f"Softmax <axis = {axis}>", x)
    else:
        flat = call.op("Softmax <axis = 1>", call.op(f"Flatten <axis = {axis}>", x))
        y = call.op("Reshape", flat, call.ints(*shape))
    _quantize(call, y, "ys", "yz", "X", "Y")


def _concat(call: Call) -> None:
    names = iter(call.formals[2:])
    parts = [_floats(call, *triple) for triple in zip(names, names, names, strict=True)]
    y = call.op(f"Concat <axis = {call.attribute('axis', 0)}>", *parts)
    _quantize(call, y, "ys", "yz", "X", "Y")


def _where(call: Call) -> None:
    x, y = _floats(call, "X", "xs", "xz"), _floats(call, "Y", "ys", "yz")
    condition = "condition" if call.elem("condition") == BOOL else call.cast("condition", BOOL)
    _quantize(call, call.op("Where", condition, x, y), "zs", "zz", "X", "Z")


def _narrow(call: Call) -> None:
    """Weights of fewer than 8 bits, or floats of 8 and 4: constants, so that the casts are done at compile time."""
    kind = call.elem("x")
    if kind in VALUE_TYPES:
        raise NotYet  # our converter takes it
    call.value("x")
    x, zeros = call.cast("x", _NARROW.get(kind, FLOAT)), ["xz"] if call.has("xz") else []
    if kind in _NARROW:
        zeros = [call.cast(zero, _NARROW[kind]) for zero in zeros]
        text = call.pass_on("axis", "block_size", "output_dtype")
        call.let("y", f"DequantizeLinear {text}", x, "xs", *zeros)
        return
    call.attribute("axis", 1)
    call.only(block_size=0)
    if math.prod(call.shape("xs")) > 1:
        raise Refused("floats of 8 or 4 bits with several scales are not supported")
    for zero in zeros:
        x = call.op("Sub", x, call.cast(zero, FLOAT))
    y = call.op("Mul", x, call.cast("xs", FLOAT))
    call.let("y", f"Cast <to = {call.attribute('output_dtype', 0) or call.elem('xs')}>", y)


def _linear(operator: str, inputs: str) -> Body:
    """The same as in the default domain, which knows 16 bits from operator set 21 on."""

    def write(call: Call) -> None:
        names = [name for name in call.formals if call.has(name)]
        if call.opset < 21 and any(call.elem(n) in (4, 5) for n in (names[0], names[-1])):
            raise Refused("16 bits need operator set 21 or newer")
        call.let("y", f"{operator} {call.pass_on('axis')}", *names)

    return Body(inputs, "y", write)


_MS = "com.microsoft"
_CONVOLUTION = Body("x xs xz w ws wz ys yz B?", "y", _convolution)
BODIES: dict[tuple[str, str], Body] = {
    ("", "DequantizeLinear"): Body("x xs xz?", "y", _narrow),
    ("", "QLinearConv"): _CONVOLUTION,
    ("", "QLinearMatMul"): Body("a as az b bs bz ys yz", "y", _matrices),
    (_MS, "DequantizeLinear"): _linear("DequantizeLinear", "x xs xz?"),
    (_MS, "DynamicQuantizeLSTM"): Body("X W R B? lengths? h? c? P? ws wz rs rz", "Y? Yh? Yc?", _lstm),
    (_MS, "DynamicQuantizeMatMul"): Body("A B bs bz? bias?", "Y", _dynamic_matrices),
    (_MS, "MatMulIntegerToFloat"): Body("A B as bs az? bz? bias?", "Y", _matrices_to_floats),
    (_MS, "QGemm"): Body("A as az B bs bz C? ys? yz?", "Y", _gemm),
    (_MS, "QLinearAdd"): _binary("Add"),
    (_MS, "QLinearAveragePool"): _pool(
        "AveragePool", "auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"
    ),
    (_MS, "QLinearConcat"): Body("ys yz X xs xz ...", "Y", _concat),
    (_MS, "QLinearConv"): _CONVOLUTION,
    (_MS, "QLinearGlobalAveragePool"): _pool("GlobalAveragePool"),
    (_MS, "QLinearLeakyRelu"): _unary("LeakyRelu", "alpha"),
    (_MS, "QLinearMul"): _binary("Mul"),
    (_MS, "QLinearReduceMean"): Body("X xs xz? ys yz?", "Y", _mean),
    (_MS, "QLinearSigmoid"): _unary("Sigmoid"),
    (_MS, "QLinearSoftmax"): Body("X xs xz? ys yz?", "Y", _softmax),
    (_MS, "QLinearWhere"): Body("condition X xs xz Y ys yz zs zz", "Z", _where),
    (_MS, "QuantizeLinear"): _linear("QuantizeLinear", "x ys yz?"),
}
