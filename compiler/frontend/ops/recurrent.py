"""LSTM, GRU and RNN: the product of the inputs of all steps, then the recurrence as one operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .integer_products import matmul_integer

if TYPE_CHECKING:
    from ...operators.recurrent import Activation

# The defaults of alpha and beta; None where the function has no such number.
_NUMBERS: dict[str, tuple[float | None, float | None]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "relu": (None, None),
    "scaledtanh": (1.0, 1.0),
    "sigmoid": (None, None),
    "softplus": (None, None),
    "softsign": (None, None),
    "tanh": (None, None),
    "thresholdedrelu": (1.0, None),
}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_REVERSE = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, W, R, bias, lengths, initial states, peepholes (ONNX's shapes; from bias on optional) → Y, Y_h, Y_c."""
    from tvm import relax

    def multiply(x: Any, w: Any) -> Any:
        columns = bb.normalize(relax.op.reshape(w, [-1, int(x.ty.shape[1])]))
        return bb.normalize(relax.op.matmul(x, bb.normalize(relax.op.permute_dims(columns, [1, 0]))))

    return _layer(bb, node, inputs, attrs, multiply)


def recurrent_of_integers(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """The same of x in 8 bits and constants W and R of int8, with four inputs behind x: its scale and zero point, and
    the scales of W and R, both [direction, gate · hidden]."""
    from tvm import relax

    x, step, zero, w_scale, r_scale, *others = inputs

    def multiply(x: Any, w: Any) -> Any:
        columns = relax.const(np.ascontiguousarray(w.value.numpy().reshape(-1, int(x.ty.shape[1])).T))
        sums = bb.emit(relax.op.astype(matmul_integer(bb, node, [x, columns, zero], {}), "float32"))
        scales = relax.const(w_scale.value.numpy().reshape(-1))
        return bb.normalize(relax.op.multiply(sums, bb.emit(relax.op.multiply(step, scales))))

    return _layer(bb, node, [x, *others], attrs, multiply, r_scale)


def _layer(
    bb: Any,
    node: Any,
    inputs: list[Any],
    attrs: dict[str, Any],
    multiply: Callable[[Any, Any], Any],
    scale: Any = None,
) -> Any:
    """A layer with its product of x [rows, inputs] and W; `scale` is of R in integers."""
    from tvm import relax

    from ...operators.recurrent import GATES, Layer, recurrent

    op, kind = relax.op, str(node.op_type)

    def made(value: Any) -> Any:
        return bb.normalize(value)

    def swapped(value: Any, *axes: int) -> Any:
        return made(op.permute_dims(value, list(axes)))

    given = dict(zip(("x", "w", "r", "bias", "lengths", "hidden", "cell", "peepholes"), inputs, strict=False))
    given = {name: value for name, value in given.items() if value is not None}
    original = "float32" if scale is not None else str(given["x"].ty.dtype)
    dtype = "float64" if original == "float64" else "float32"
    given = (
        {n: v if n == "lengths" else made(op.astype(v, dtype)) for n, v in given.items()}
        if (original != dtype)
        else given
    )
    if by_batch := bool(attrs.get("layout", 0)):
        given |= {n: swapped(given[n], 1, 0, 2) for n in ("x", "hidden", "cell") if n in given}
    x, w, r = given.pop("x"), given.pop("w"), given.pop("r")
    (steps, batch, size), (directions, rows, hidden) = ([int(d) for d in v.ty.shape] for v in (x, r))
    reverse = _REVERSE[_text(attrs.get("direction", "forward"))]
    wanted = [bool(name) for name in node.output] + [False] * 3
    after = kind == "GRU" and bool(attrs.get("linear_before_reset", 0))
    layer = Layer(
        kind,
        reverse,
        _activations(kind, len(reverse), attrs),
        float(attrs.get("clip", 0.0)),
        bool(attrs.get("input_forget", 0)),
        after,
        wanted[0],
    )
    bias = given.pop("bias", None)
    if steps * batch == 0:
        return _results(node, _empty(bb, kind, (steps, directions, batch, hidden), given, original, by_batch))
    products = multiply(made(op.reshape(x, [steps * batch, size])), w)
    if bias is not None:
        of_input, of_state = (_columns(bb, bias, n * rows, (n + 1) * rows) for n in (0, 1))
        if after:
            given["bias"] = _columns(bb, of_state, rows - hidden, rows)
            kept = (np.arange(rows) < rows - hidden).astype(dtype)
            of_state = made(op.multiply(of_state, relax.const(kept)))
        products = made(op.add(products, made(op.reshape(made(op.add(of_input, of_state)), [directions * rows]))))
    products = made(op.reshape(products, [steps, batch, directions * GATES[kind] * hidden]))
    if scale is not None:
        given["scale"] = scale
    call = bb.emit(recurrent(layer, products, r, given))
    fields = [bb.emit(relax.TupleGetItem(call, n)) for n in range(len(call.ty.fields))]
    if not wanted[0]:
        fields.insert(0, made(op.zeros([steps, directions, batch, hidden], dtype)))  # nobody reads it
    if by_batch:
        fields = [swapped(f, *((2, 0, 1, 3) if n == 0 else (1, 0, 2))) for n, f in enumerate(fields)]
    if original != dtype:
        fields = [made(op.astype(f, original)) for f in fields]
    return _results(node, fields)


def _columns(bb: Any, value: Any, begin: int, end: int) -> Any:
    """Columns of a matrix; a constant's at once."""
    from tvm import ir, relax

    if isinstance(value, ir.GenericConst):
        return relax.const(np.ascontiguousarray(value.value.numpy()[:, begin:end]))
    return bb.normalize(relax.op.strided_slice(value, [1], [begin], [end]))


def _results(node: Any, fields: list[Any]) -> Any:
    from tvm import relax

    count = len(node.output)
    return fields[0] if count == 1 else relax.Tuple(fields[:count])


def _empty(bb: Any, kind: str, shape: tuple[int, ...], given: dict[str, Any], dtype: str, by_batch: bool) -> list[Any]:
    """No step or no row: the states are what they were."""
    from tvm import relax

    steps, directions, batch, hidden = shape
    y = [batch, steps, directions, hidden] if by_batch else list(shape)
    fields = [bb.normalize(relax.op.zeros(y, dtype))]
    for name in ("hidden", "cell") if kind == "LSTM" else ("hidden",):
        state = given.get(name, relax.op.zeros([directions, batch, hidden], dtype))
        state = bb.normalize(relax.op.astype(bb.normalize(state), dtype))
        fields.append(bb.normalize(relax.op.permute_dims(state, [1, 0, 2])) if by_batch else state)
    return fields


def _activations(kind: str, directions: int, attrs: dict[str, Any]) -> tuple[tuple[Activation, ...], ...]:
    """Of each direction. Numbers are taken in order by the functions that have them."""
    from ...operators.recurrent import Activation

    defaults = _DEFAULTS[kind] * directions
    names = [_text(name) for name in attrs.get("activations", ()) or defaults]
    if len(names) != len(defaults):
        raise ValueError(f"{len(names)} activations, not {len(defaults)}")
    unknown = [name for name in names if name.lower() not in _NUMBERS]
    if unknown:
        raise ValueError(f"the standard has no activation {unknown[0]!r}")
    alphas, betas = (iter(attrs.get(f"activation_{which}", ()) or ()) for which in ("alpha", "beta"))

    def number(default: float | None, rest: Iterator[Any]) -> float:
        return 0.0 if default is None else float(next(rest, default))

    found = [
        Activation(name.lower(), number(alpha, alphas), number(beta, betas))
        for name in names
        for alpha, beta in [_NUMBERS[name.lower()]]
    ]
    size = len(found) // directions
    return tuple(tuple(found[n * size : (n + 1) * size]) for n in range(directions))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
