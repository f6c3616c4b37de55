"""Tables of 8 or 4 bits whose rows are looked up, as embeddings are: com.microsoft's GatherBlockQuantized.

The table stays what it is; what is looked up becomes floats. Of 4 bits, a byte holds a number of the first half of a
row and the one at the same place of the second half, so that two runs of numbers come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .body import FLOAT, Body, Call, Refused

Array = np.ndarray[Any, Any]

_INT4, _UINT4, _UINT8 = 22, 21, 2
_HALF = 16  # numbers of 4 bits


def _gather(call: Call) -> None:
    bits = call.attribute("bits", 4)
    packed = call.elem("data") == _UINT8 and bits == 4
    if call.elem("data") not in (_INT4, _UINT4, _UINT8) or bits not in (4, 8):
        raise Refused("only tables of 4 bits, or of uint8, are supported")
    numbers, scales = _numbers(call, "data", packed), call.value("scales").astype(np.float32)
    if numbers.ndim != 2 or call.attribute("gather_axis", 0) or call.attribute("quantize_axis", 1) % 2 != 1:
        raise Refused("only rows of a table, with blocks along them, are supported")
    width, groups, block = numbers.shape[1], scales.shape[1], int(call.attribute("block_size", 128))
    whole = width // groups if width % groups == 0 else 0
    if whole != block and not (groups == 1 and width <= block):
        raise Refused("its blocks do not fill the rows")
    middle = 1 << (bits - 1) if call.elem("data") == _UINT8 else 0
    zeros = _numbers(call, "zeros", packed)[:, :groups] if call.has("zeros") else np.full(scales.shape, middle)
    lowest = -_HALF // 2 if call.elem("data") == _INT4 else 0
    narrow = bits == 4 and width % 2 == 0
    numbers = numbers - lowest
    held = numbers[:, : width // 2] | (numbers[:, width // 2 :] << 4) if narrow else numbers
    table = call.tensor(held.astype(np.uint8))
    y = call.cast(call.op("Gather <axis = 0>", table, "indices"), FLOAT)
    if narrow:
        high = call.op("Floor", call.op("Mul", y, call.number(1 / _HALF)))
        low = call.op("Sub", y, call.op("Mul", high, call.number(_HALF)))
        y = call.op("Concat <axis = -1>", low, high)
    shape = call.shape("indices")
    if groups > 1:
        y = call.op("Reshape", y, call.ints(*shape, groups, whole))
    y = _scaled(call, y, scales, zeros - lowest, groups > 1)
    if groups > 1:
        y = call.op("Reshape", y, call.ints(*shape, width))
    call.let("y", "Identity", y)


def _scaled(call: Call, y: str, scales: Array, zeros: Array, grouped: bool) -> str:
    """(y - zero) * scale, both of the rows that were looked up."""

    def looked_up(values: Array) -> str:
        found = call.op("Gather <axis = 0>", call.tensor(values.astype(np.float32)), "indices")
        return call.op("Unsqueeze", found, call.ints(-1)) if grouped else found

    same = bool((zeros == zeros.flat[0]).all())
    y = call.op("Sub", y, call.number(float(zeros.flat[0])) if same else looked_up(zeros))
    return call.op("Mul", y, looked_up(scales))


def _numbers(call: Call, name: str, packed: bool) -> Array:
    """The numbers of a constant, as int16."""
    values = call.value(name).astype(np.int16)
    if not packed:
        return values
    return np.stack([values & 15, values >> 4], axis=-1).reshape(len(values), -1)


BODIES: dict[tuple[str, str], Body] = {
    ("com.microsoft", "GatherBlockQuantized"): Body("data indices scales zeros?", "y", _gather)
}
