"""The nearest points to each row without the matrix of all distances, which no cache holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..kernels.limits import Limits
from ..kernels.packed import block_width
from ..operators.distances import DISTANCES
from .constants import constant
from .legalize.select import LARGEST
from .nearest_program import Nearest, least_points, limits_for
from .pack_weights import pack
from .rewrite import count_uses, definitions_of, operator_of, replace_bindings, shape_of


def find_nearest(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Rewrites TopK of distances to constant points, or their roots, in `main`, to one program.

    Where the distances stay in the second-level cache they are a kernel of their own, whose points threads share.
    """
    definitions, uses = definitions_of(module), count_uses(module)
    values: dict[Any, Any] = {}
    for var, call in definitions.items():
        if operator_of(call) != "relax.topk" or not _wants_few(call):
            continue
        source, root = call.args[0], False
        if operator_of(definitions.get(source)) == "relax.sqrt" and uses[source] == 1:
            source, root = definitions[source].args[0], True
        distances = definitions.get(source)
        if operator_of(distances) != DISTANCES or uses[source] > 1 or not _pays(distances, limits):
            continue

        def make(builder: relax.BlockBuilder, call: Any = call, distances: Any = distances, root: bool = root) -> Any:
            return _call(builder, call, distances, root, limits)

        values[var] = make
    return replace_bindings(module, values) if values else module


def _wants_few(call: Any) -> bool:
    attrs, rank = call.attrs, len(call.args[0].ty.shape)
    last = int(attrs.axis) in (-1, rank - 1)
    return last and not bool(attrs.largest) and 1 <= int(attrs.k) <= LARGEST and str(attrs.ret_type) == "both"


def _pays(distances: Any, limits: Limits) -> bool:
    points = distances.args[1]
    dtype = str(distances.ty.dtype)
    if not isinstance(points, ir.GenericConst) or dtype not in ("float32", "float64"):
        return False
    (rows, count), size = shape_of(distances), np.dtype(dtype).itemsize
    return size * rows * count > limits.l2 and count >= least_points(limits_for(dtype, limits))


def _call(builder: relax.BlockBuilder, call: Any, distances: Any, root: bool, limits: Limits) -> Any:
    data, points = distances.args
    columns = points.value.numpy()
    power, count, kind = int(distances.attrs["power"]), int(call.attrs.k), str(distances.ty.dtype)
    limits = limits_for(kind, limits)
    plan = Nearest.plan(shape_of(data), columns.shape[1], count, kind, power, root, limits)
    packed = constant(pack(columns, block_width(columns.shape[1], limits)))
    made = builder.emit(builder.call_te(plan.program, data, packed, primfunc_name_hint="nearest"))
    fields = [builder.emit(relax.TupleGetItem(made, i)) for i in range(2)]
    dtype = str(call.attrs.dtype)
    if dtype != "int32":
        fields[1] = builder.emit(relax.op.astype(fields[1], dtype))
    return relax.Tuple(fields)
