"""Products with weights of 4 or 8 bits: packed for the kernel that makes floats of them in registers.

A product of one row reads every weight once, so it takes as long as memory takes to bring the weights; of fewer bits
they come sooner. For many rows a block of weights becomes floats once and is used by all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from ..kernels.few_bits import ACCUMULATOR, DEQUANTISED, GROUP, SCALED, few_rows
from ..kernels.limits import Limits
from ..kernels.packed import block_width
from ..operators.few_bits import FEW_BITS
from .constants import constant
from .pack_weights import pack
from .rewrite import fuse_elementwise, operator_of, rewrite_calls, shape_of


def pack_few_bits(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Rewrites the products with weights of few bits in `main` to calls of their programs."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        return _product(builder, call, limits) if operator_of(call) == FEW_BITS else call

    return fuse_elementwise(rewrite_calls(module, visit), FEW_BITS.removeprefix("edgec."))


def _product(builder: relax.BlockBuilder, call: Any, limits: Limits) -> Any:
    data, weight, scale, *zero = call.args
    bits, shape = int(call.attrs["bits"]), list(shape_of(call))
    groups, block = shape_of(scale)[0], shape_of(weight)[0] // shape_of(scale)[0]
    width = block_width(shape[-1], limits)
    packed = pack(weight.value.numpy(), width)  # [blocks, I, width]
    tables = [pack(part.value.numpy(), width) for part in (scale, *zero)]  # [blocks, groups, width]
    if bits == 4:
        packed = (packed[:, 0::2] & 15) | (packed[:, 1::2] << 4)
    packed = packed.reshape(len(packed), groups, -1, width)
    product = _Product(bits, groups, block, width, shape)
    compute = product.of_few_rows if few_rows(shape[:-1], width, limits) else product.of_many_rows
    constants = [constant(np.ascontiguousarray(part)) for part in (packed, *tables)]
    return builder.call_te(compute, data, *constants, primfunc_name_hint=FEW_BITS.removeprefix("edgec."))


@dataclass(frozen=True)
class _Product:
    """Programs of data [..., I], weights int8 [blocks, groups, I / groups, width], half as many bytes of 4 bits, scales
    and zero points [blocks, groups, width].

    Attributes:
        block: inputs that share a scale.
        shape: of the result.
    """

    bits: int
    groups: int
    block: int
    width: int
    shape: list[int]

    def of_few_rows(self, x: Any, w: Any, s: Any, *z: Any) -> Any:
        """The sums of a group are scaled, not the weights."""
        blocks, pairs = -(-self.shape[-1] // self.width), self.bits == 4
        r = [te.reduce_axis((0, self.block // 2 if pairs else self.block), "r")]
        r += [te.reduce_axis((0, 2), "half")] if pairs else []

        def term(*i: Any) -> Any:
            *row, b, g, lane = i
            value, zero = w(b, g, r[0], lane).astype("int32"), z[0](b, g, lane).astype("float32") if z else None
            if not pairs:
                number = value.astype("float32")
                return x(*row, g * self.block + r[0]) * (number if zero is None else number - zero)
            # The low bits at the top of a word are 2^28 times what they are, the high bits where they are 2^4 times.
            number = tirx.Select(r[1] == 0, value << 28, value & -16).astype("float32")
            if zero is not None:
                number = number - zero * tirx.Select(r[1] == 0, _float(2.0**28), _float(16.0))
            return scaled(*row, g * self.block + r[0] * 2 + r[1]) * number

        def part(*i: Any) -> Any:
            return x(*i) * tirx.Select(i[-1] % 2 == 0, _float(2.0**-28), _float(1 / 16))

        rows = self.shape[:-1]
        scaled = te.compute((*rows, self.groups * self.block), part, name=SCALED) if pairs else x
        sums = te.compute((*rows, blocks, self.groups, self.width), lambda *i: te.sum(term(*i), axis=r), name=GROUP)
        g = te.reduce_axis((0, self.groups), "g")
        return self._unpacked(lambda *i: te.sum(sums(*i[:-1], g, i[-1]) * s(i[-2], g, i[-1]), axis=g))

    def of_many_rows(self, x: Any, w: Any, s: Any, *z: Any) -> Any:
        """The weights become floats first."""

        def weight(b: Any, k: Any, lane: Any) -> Any:
            g = k // self.block
            if self.bits == 8:
                value = w(b, g, k % self.block, lane).astype("int32")
            else:
                pair = w(b, g, k % self.block // 2, lane).astype("int32")
                value = tirx.Select(k % 2 == 0, (pair << 28) >> 28, pair >> 4)
            number = value.astype("float32")
            return (number - z[0](b, g, lane).astype("float32") if z else number) * s(b, g, lane)

        blocks, inputs = -(-self.shape[-1] // self.width), self.groups * self.block
        made = te.compute((blocks, inputs, self.width), weight, name=DEQUANTISED)
        r = te.reduce_axis((0, inputs), "r")
        return self._unpacked(lambda *i: te.sum(x(*i[:-2], r) * made(i[-2], r, i[-1]), axis=r))

    def _unpacked(self, element: Any) -> Any:
        blocks = -(-self.shape[-1] // self.width)
        sums = te.compute((*self.shape[:-1], blocks, self.width), element, name=ACCUMULATOR)
        return te.compute(
            self.shape, lambda *i: sums(*i[:-1], i[-1] // self.width, i[-1] % self.width), name="unpacked"
        )


def _float(value: float) -> Any:
    return tirx.const(value, "float32")
