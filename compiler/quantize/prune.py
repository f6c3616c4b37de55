"""Magnitude pruning without training: the smallest weights become zeros.

Zeros by themselves make a model no faster. Those in blocks are left out of the kernels (`passes/sparse_products.py`),
those of whole channels are taken out of the model (`frontend/dead_channels.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import UserError
from ..frontend.fold import constants_to_initializers
from ..frontend.graph import all_nodes
from .settings import Pruning
from .sparsity import BLOCK
from .weighted import Array, Layer, find_layers

STRUCTURES = ("weights", "blocks", "channels")
SCOPES = ("global", "layer")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def prune(
    model: onnx.ModelProto,
    sparsity: float,
    structure: str = "weights",
    scope: str = "global",
    keep: Collection[str] = (),
) -> onnx.ModelProto:
    """A copy of a model in which a share of the weights of products and convolutions is zero.

    Left alone are depthwise convolutions, whose few weights matter most, integers, and where channels go, layers whose
    results are the model's.

    Args:
        sparsity: the share of units that becomes zero, 0 to below 1; of blocks and channels the nearest number.
        structure: the units: `weights`; `blocks` of 16 output channels by one input (and place of the kernel);
            `channels`, whole outputs with their bias, after Li et al., "Pruning Filters for Efficient ConvNets", ICLR
            2017 (arXiv:1608.08710).
        scope: `layer` takes the same share of every layer; `global` compares the units of all layers by their part in
            the energy of those of their layer that are no smaller, after Lee et al., "Layer-adaptive Sparsity for the
            Magnitude-based Pruning", ICLR 2021 (arXiv:2010.07611), which leaves something of every layer.
        keep: names of nodes to leave alone.

    Raises:
        UserError: a share, structure, scope or name that cannot be, or no layer that can be pruned.
    """
    if not 0 <= sparsity < 1:
        raise UserError(f"a sparsity of {sparsity} cannot be", model.graph.name, "give a share from 0 to below 1")
    for value, known in ((structure, STRUCTURES), (scope, SCOPES)):
        if value not in known:
            raise UserError(f"pruning knows no {value!r}", model.graph.name, f"use one of {', '.join(known)}")
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    constants_to_initializers(pruned.graph)
    _check_names(pruned.graph, keep)
    found, tensors = _prunable(pruned.graph, structure)
    chosen = [layer for layer in found if layer.node.name not in keep]
    if not found:
        raise UserError(
            "no layer can be pruned", model.graph.name, "give a model with convolutions or products of floats"
        )
    weights = [np.ascontiguousarray(_array(tensors, layer)).copy() for layer in chosen]
    units = [_units(layer.matrix(weight), structure) for layer, weight in zip(chosen, weights, strict=True)]
    for layer, weight, gone in zip(chosen, weights, _smallest(units, sparsity, scope), strict=True):
        matrix = layer.matrix(weight)
        matrix[np.repeat(gone, BLOCK, axis=1)[:, : matrix.shape[1]] if structure == "blocks" else gone] = 0
        tensors[layer.weight].CopyFrom(numpy_helper.from_array(weight, layer.weight))
        if structure == "channels":
            _clear_bias(pruned.graph, layer, gone.reshape(-1), tensors)
    return pruned


def prune_apart(model: onnx.ModelProto, pruning: Pruning, keep: Collection[str]) -> onnx.ModelProto:
    """`prune`, with a name of its own for every constant that it changes."""
    pruned = prune(model, pruning.sparsity, pruning.structure, pruning.scope, keep)
    before = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = {t.name: f"{t.name}/pruned" for t in pruned.graph.initializer if t != before.get(t.name)}
    for tensor in pruned.graph.initializer:
        tensor.name = changed.get(tensor.name, tensor.name)
    for node in pruned.graph.node:
        node.input[:] = [changed.get(name, name) for name in node.input]
    return pruned


def _prunable(graph: onnx.GraphProto, structure: str) -> tuple[list[Layer], dict[str, onnx.TensorProto]]:
    """The layers that `prune` does not leave alone, and the constants of the graph by name."""
    layers, tensors = find_layers(graph)
    results = {value.name for value in graph.output} if structure == "channels" else set()
    chosen = [
        layer
        for layer in layers
        if tensors[layer.weight].data_type in _FLOATS
        and not results.intersection(layer.node.output)
        and (layer.node.op_type == "MatMul" or layer.matrix(_array(tensors, layer)).shape[2] > 1)
    ]
    return chosen, tensors


def _array(tensors: dict[str, onnx.TensorProto], layer: Layer) -> Array:
    return numpy_helper.to_array(tensors[layer.weight])


def _check_names(graph: onnx.GraphProto, names: Collection[str]) -> None:
    known = {node.name for node in all_nodes(graph.node)}
    if unknown := sorted(set(names) - known):
        raise UserError(
            f"no node is named {', '.join(unknown)}", graph.name, "`edgec inspect` shows those that have zeros"
        )


def _units(matrix: Array, structure: str) -> Array:
    """The squares of the sizes of the units: mean squares of [groups, units, …] of their weights."""
    squares = np.square(matrix, dtype=np.float64)
    if structure == "channels":
        return np.asarray(squares.mean(axis=(2, 3)))
    if structure == "blocks":
        starts = np.arange(0, matrix.shape[1], BLOCK)
        sizes = np.diff([*starts, matrix.shape[1]])
        return np.asarray(np.add.reduceat(squares, starts, axis=1) / sizes[None, :, None, None])
    return squares


def _smallest(units: list[Array], share: float, scope: str) -> Iterator[Array]:
    """By layer, whether each unit is among the smallest."""
    if scope == "layer":
        scores, pools = units, [np.sort(unit, axis=None) for unit in units]
    else:
        scores = [_shares_of_larger(unit) for unit in units]
        pools = [np.sort(np.concatenate([score.reshape(-1) for score in scores]))] * len(scores)
    for score, pool in zip(scores, pools, strict=True):
        count = round(share * pool.size)
        gone = np.ascontiguousarray(score < (pool[count] if count < pool.size else np.inf))
        if scope == "layer":  # of equal ones, as many as are missing
            equal = np.flatnonzero(score == pool[min(count, pool.size - 1)])[: count - np.count_nonzero(gone)]
            gone.reshape(-1)[equal] = True
        yield gone


def _shares_of_larger(unit: Array) -> Array:
    """Each unit's part in the sum of those that are no smaller."""
    order = np.argsort(unit, axis=None, kind="stable")
    ordered = unit.reshape(-1)[order]
    rest = np.cumsum(ordered[::-1])[::-1]
    scores = np.empty_like(ordered)
    scores[order] = np.divide(ordered, rest, out=np.zeros_like(ordered), where=rest > 0)
    return np.asarray(scores.reshape(unit.shape))


def _clear_bias(graph: onnx.GraphProto, layer: Layer, gone: Array, tensors: dict[str, onnx.TensorProto]) -> None:
    """Makes zeros of what the layer, or the normalisation behind it, adds to channels that are gone."""
    (result,) = layer.node.output
    readers = [node for node in all_nodes(graph.node) if result in node.input]
    added = [layer.node.input[2]] if len(layer.node.input) > 2 else []
    if len(readers) == 1 and readers[0].op_type == "BatchNormalization":
        added += readers[0].input[1:3]
    elif len(readers) == 1 and readers[0].op_type == "Add" and layer.node.op_type == "MatMul":
        added += [name for name in readers[0].input if name != result]
    for name in added:
        tensor = tensors.get(name)
        shared = sum(name in node.input for node in all_nodes(graph.node)) > 1
        if tensor is not None and not shared and list(tensor.dims) == [len(gone)]:
            values = numpy_helper.to_array(tensor).copy()
            values[gone] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, name))
