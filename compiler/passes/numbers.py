"""What products with constant weights are made of: floats, pairs of bfloat16, or 8-bit integers four at a time.

The sum of a product runs in steps. A step of float32 or float16 is one element; one of others is a word, of which
instructions for dot products take as many at once as they take float32 (kernels/dots.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
from tvm import relax

from ..kernels.dots import dot, word
from ..kernels.float16 import LARGEST
from ..kernels.limits import Limits
from ..kernels.weight_limit import WORD
from ..operators.distances import DISTANCES
from .constants import constant
from .rewrite import operator_of

Array = np.ndarray[Any, Any]

# Terms of a sum in float16; its error grows with their root, to half a per cent of a term's size times that root.
_MOST_HALVES = 2304


@dataclass(frozen=True)
class Numbers:
    """How the elements of a product's data and weights are multiplied.

    Attributes:
        dtype: of the data that the kernel reads.
        group: elements of a step.
        kind: of dot product, for kernels/dots.py.
    """

    dtype: str
    group: int
    kind: str = ""

    def accept(self, builder: relax.BlockBuilder, data: Any, weight: Array) -> tuple[Any, Callable[[Any], Any]]:
        """The data as the kernel takes it, and what makes the true result of the kernel's.

        Of integers of the other sign, 128 is added or taken away; times the sums of the weights it is corrected.

        Args:
            weight: […, I, O].
        """
        given = str(data.ty.dtype)
        if given in (self.dtype, "float32"):  # which the kernel rounds to bfloat16
            return data, lambda result: result
        step = 128 if self.dtype == "uint8" else -128
        moved = relax.op.add(relax.op.astype(data, "int16"), relax.const(step, "int16"))
        moved = builder.emit(relax.op.astype(moved, self.dtype))
        excess = step * weight.astype(np.int32).sum(axis=tuple(range(weight.ndim - 1)), dtype=np.int32)
        return moved, lambda result: relax.op.subtract(builder.emit(result), constant(excess))

    def limits(self, limits: Limits) -> Limits:
        """Those of a target for kernels of these numbers: a vector holds twice as many of half the size."""
        return replace(limits, lanes=2 * limits.lanes) if self.dtype == "float16" else limits

    def multiply(self, element: Callable[[Any], Any], step: Any, weight: Any) -> Any:
        """The product of a step: of data, as a function of the place along the sum, and a step of packed weights."""
        if self.group == 1 and self.dtype == "int16":
            return element(step).astype("int32") * weight.astype("int32")
        if self.group == 1:
            return element(step) * weight
        return dot(word([element(step * self.group + i) for i in range(self.group)]), weight, self.kind)

    def of_taps(self, weight: Array, limits: Limits) -> tuple[Numbers, Array]:
        """The numbers whose steps are taps of a column of a kernel, and its weights [H, W, C] as [H / group, W, C]."""
        missing = -len(weight) % self.group
        filled = np.pad(weight, [(0, missing), (0, 0), (0, 0)])
        steps = filled.reshape(-1, self.group, *weight.shape[1:]).swapaxes(1, 2)
        return self.of_words(steps, limits), self.join(steps)[:, :, 0]

    def of_words(self, weight: Array, limits: Limits) -> Numbers:
        """The numbers for weights […, I, O] in another order."""
        return replace(self, kind=_kind(self.dtype, weight, limits)) if self.group == WORD else self

    def join(self, packed: Array) -> Array:
        """[…, I, width] → […, I / group, width], the elements of a step side by side as one number."""
        if self.group == 1:
            return packed.astype(self.dtype, copy=False)
        *outer, inputs, width = packed.shape
        if self.dtype == "bfloat16":
            packed = packed.astype(ml_dtypes.bfloat16)
        steps = np.swapaxes(packed.reshape(*outer, inputs // self.group, self.group, width), -1, -2)
        return np.ascontiguousarray(steps).view("<i4")[..., 0]


FLOATS = Numbers("float32", 1)
PAIRS = Numbers("int16", 2, "int16")
WIDE = Numbers("int16", 1)
_BFLOATS = Numbers("bfloat16", WORD // 2, "bfloat16")
_HALVES = Numbers("float16", 1)


def computes_in(stored: str | None, limits: Limits) -> bool:
    """Whether products take numbers of a type of 16 bits as they are, at twice the speed of float32."""
    return (stored == "bfloat16" and limits.pairs) or (stored == "float16" and limits.halves)


def numbers_of(call: Any, limits: Limits, stored: str | None = None) -> Numbers | None:
    """The numbers of a product's call; None for those that have no packed kernel.

    Args:
        stored: the type that float32 will have in memory, if it is another.
    """
    result, data, weight = (str(x.ty.dtype) for x in (call, *call.args[:2]))
    if result == data == weight == "float32":
        if stored == "float16" and limits.halves and _fits_halves(call):
            return _HALVES
        return _BFLOATS if stored == "bfloat16" and limits.pairs else FLOATS
    if result == "int32" and data in ("uint8", "int8") and weight == "int8":
        taken = data if data in limits.dot_data else limits.dot_data[0]
        return Numbers(taken, WORD, _kind(taken, call.args[1].value.numpy(), limits))
    return None


def _kind(dtype: str, weight: Array, limits: Limits) -> str:
    small = dtype == "uint8" and limits.weights is not None and limits.weights.factors(weight).max(initial=0) <= 1
    return f"{dtype}_small" if small else dtype


def _fits_halves(call: Any) -> bool:
    """Whether a product's sums may be of float16: of finite weights, and of no more terms than leave it some digits."""
    if operator_of(call) == DISTANCES:
        return False
    weight = call.args[1].value.numpy()
    return weight.size // weight.shape[-1] <= _MOST_HALVES and bool(np.all(np.abs(weight) <= LARGEST))


def fill_up(builder: relax.BlockBuilder, data: Any, weight: Array, group: int) -> tuple[Any, Array]:
    """Data […, I] and weights […, I, O] with zeros behind, for whole steps."""
    missing = -weight.shape[-2] % group
    if not missing:
        return data, weight
    rank = len(data.ty.shape)
    data = builder.emit(relax.op.nn.pad(data, [0] * (2 * rank - 1) + [missing]))
    return data, np.pad(weight, [*[(0, 0)] * (weight.ndim - 2), (0, missing), (0, 0)])
