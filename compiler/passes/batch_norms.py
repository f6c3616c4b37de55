"""Batch normalisations that no convolution takes up: one product and one sum an element, as onnxruntime has it.

TVM writes out what the definition says, with a division.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import operator_of, rewrite_calls


def fold_batch_norms(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites the batch normalisations in `main`, of float32 with constant statistics."""
    return rewrite_calls(module, _fold)


def _fold(builder: relax.BlockBuilder, call: Any) -> Any:
    if operator_of(call) != "relax.nn.batch_norm" or bool(call.attrs.training):
        return call
    data, *statistics = call.args
    if str(data.ty.dtype) != "float32" or not all(isinstance(value, ir.GenericConst) for value in statistics):
        return call
    gamma, beta, mean, variance = (value.value.numpy().astype(np.float64) for value in statistics)
    with np.errstate(all="ignore"):
        scale = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + float(call.attrs.epsilon))
        shift = (beta if call.attrs.center else 0.0) - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return call
    rank = len(data.ty.shape)
    along = [-1 if axis == int(call.attrs.axis) % rank else 1 for axis in range(rank)]
    factor, summand = (constant(value.astype(np.float32).reshape(along)) for value in (scale, shift))
    result = builder.emit(relax.op.add(builder.emit(relax.op.multiply(data, factor)), summand))
    return relax.Tuple([result, *statistics[2:]])
