"""Recurrent layers as one kernel each: a loop over the steps inside of one program.

The program goes over tiles of hidden units (recurrent_program.py); the weights stand as its loops read them. Weights of
8 bits are multiplied as such where that is faster (recurrent_integers.py), else they become floats here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..kernels.limits import Limits
from ..kernels.vectors import lanes_of
from ..operators.by_hand import program
from ..operators.recurrent import GATES, RECURRENT, layer_of, options_of, result_shapes
from .constants import constant
from .recurrent_integers import narrow_shape, pack_narrow, pays
from .recurrent_program import Tile, Writer
from .rewrite import rewrite_calls

_MAX_ROWS, _MAX_VECTORS = 8, 4


def lower_recurrent(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Replaces the recurrent layers in `main` by calls of their programs."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        return _lower(builder, call, limits) if getattr(call.op, "name", "") == RECURRENT else call

    return rewrite_calls(module, visit)


def _lower(builder: relax.BlockBuilder, call: Any, limits: Limits) -> Any:
    layer, options = layer_of(call), options_of(call)
    hidden, batch = int(call.args[1].ty.shape[2]), int(call.args[0].ty.shape[1])
    # What GRU resets before its product is summed when the other gates are known.
    count = GATES[layer.kind]
    gates = [[0, 1], [2]] if layer.kind == "GRU" and not layer.after else [list(range(count))]
    tiles = [_tile(len(group), batch, hidden, limits) for group in gates]
    rows = min(tile.rows for tile in tiles)
    tiles = [_tile(len(group), rows, hidden, limits) for group in gates]
    weights, scale, data = call.args[1], options.pop("scale", None), ""
    if scale is not None and pays(count, hidden, limits):
        data = limits.dot_data[0]
        tables = [pack_narrow(weights, scale, group, tile) for group, tile in zip(gates, tiles, strict=True)]
        arguments = [table for of_group in zip(*tables, strict=True) for table in of_group]
    else:
        if scale is not None:
            weights = constant(weights.value.numpy() * scale.value.numpy()[:, :, None])
        arguments = [_pack(builder, weights, group, tile) for group, tile in zip(gates, tiles, strict=True)]
    shapes, dtype, tasks = result_shapes(call), str(call.ty.fields[0].dtype), -(-batch // rows) * len(layer.reverse)
    scratch = [[tasks, 2, rows, hidden]] * (2 if layer.kind == "LSTM" else 1)
    scratch += [[tasks, 2, rows, hidden]] * (len(gates) - 1)  # the update, and the state that is reset
    outputs, dtypes = [*shapes, *scratch], [dtype] * len([*shapes, *scratch])
    if data:
        outputs, dtypes = [*outputs, [tasks, *narrow_shape(rows, hidden)]], [*dtypes, data]
    name = f"{layer.kind.lower()}_int8" if data else layer.kind.lower()

    def compute(products: Any, *rest: Any) -> Any:
        def write(*buffers: Any) -> None:
            Writer(call, tiles, gates, buffers, list(options), data).write()

        return program([products, *rest], outputs, dtypes, write, name)

    return builder.call_te(compute, call.args[0], *arguments, *options.values(), primfunc_name_hint=name)


def _tile(gates: int, batch: int, hidden: int, limits: Limits) -> Tile:
    """The largest that leaves registers for weights; the blocks of rows are as even as they can be."""
    sums = limits.registers - (8 if limits.registers >= 32 else 4)
    most = max(1, min(batch, sums // gates, _MAX_ROWS))
    rows = -(-batch // -(-batch // most))
    lanes = lanes_of(hidden, limits.lanes)
    vectors = max(1, min(sums // (gates * rows), hidden // lanes, _MAX_VECTORS))
    vectors = min(range(1, vectors + 1), key=lambda n: (-(-hidden // (n * lanes)) * n, -n))
    return Tile(rows, vectors, lanes, hidden)


def _pack(builder: relax.BlockBuilder, weights: Any, gates: list[int], tile: Tile) -> Any:
    """[direction, gate · unit, state] → [direction, tile, state, gate, unit]; in the model where it is no constant."""
    places = np.asarray(gates)[None, :, None] * tile.hidden + tile.units()[:, None, :]
    directions = int(weights.ty.shape[0])
    shape, axes = [directions, *places.shape, tile.hidden], [0, 1, 4, 2, 3]
    if isinstance(weights, ir.GenericConst):
        picked = weights.value.numpy()[:, places.ravel()].reshape(shape)
        return constant(np.ascontiguousarray(picked.transpose(axes)))
    picked = builder.emit(relax.op.take(weights, relax.const(places.ravel()), 1, "clip"))
    return builder.emit(relax.op.permute_dims(builder.emit(relax.op.reshape(picked, shape)), axes))
