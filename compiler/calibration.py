"""Counts how often sample data pass each node of a model's trees, for nodes that are passed together to lie together.

The counts become the nodes' `nodes_hitrates`, which some libraries export themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import UserError
from .frontend.forest import Tests, tests_of
from .frontend.forest_nodes import InvalidForest, read_ensemble, read_ensemble_of_5
from .frontend.graph import attributes_of, node_inputs, replace_nodes
from .frontend.prepare import Model
from .verify.reference import ReferenceError, run_reference

Array = np.ndarray[Any, Any]

_ML = "ai.onnx.ml"
_KINDS = {"TreeEnsemble": "", "TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
_ANY_COLUMN = 1 << 31  # the compiler checks the columns later


def calibrate(model: Model, data: Mapping[str, Any]) -> Model:
    """The model with the shares of `data` that pass each node of its trees; it computes the same.

    What a forest reads may be computed by other nodes, which a reference then does.

    Args:
        data: an array of sample rows for each input, by name.

    Raises:
        UserError: the model has no trees, the arrays do not fit its inputs, or no reference runs it.
    """
    graph = model.proto.graph
    if not any(_is_forest(node) for node in graph.node):
        raise UserError(
            "there is nothing to calibrate: the model has no trees outside of functions and branches",
            model.name,
            "leave the calibration out",
        )
    arrays = {name: np.asarray(array) for name, array in data.items()}
    _check(graph, arrays, model.name)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    forests = [node for node in proto.graph.node if _is_forest(node)]
    values = _values(model, [node.input[0] for node in forests], arrays)
    for node in forests:
        _count(node, values[node.input[0]])
    return replace(model, proto=proto)


def _is_forest(node: onnx.NodeProto) -> bool:
    return node.domain == _ML and node.op_type in _KINDS


def _check(graph: onnx.GraphProto, arrays: Mapping[str, Array], where: str) -> None:
    """Demands arrays of the inputs' names, types and shapes, with rows in them."""
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value.type.tensor_type for value in graph.input if value.name not in initializers}
    fix = "give sample rows as the model gets them, an array for each input"
    if arrays.keys() != inputs.keys():
        given, wanted = (", ".join(map(repr, sorted(names))) or "none" for names in (arrays, inputs))
        raise UserError(f"the calibration data are for {given}, the inputs are {wanted}", where, fix)
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        label, dims = f"{where}: input {name!r}", inputs[name].shape.dim
        texts = inputs[name].elem_type == TensorProto.STRING
        dtype = np.dtype(np.str_) if texts else helper.tensor_dtype_to_np_dtype(inputs[name].elem_type)
        if array.dtype.kind not in "OU" if texts else array.dtype != dtype:
            made = "strings" if texts else f"numpy.{dtype}"
            raise UserError(f"its calibration data are {array.dtype}, not {dtype}", label, f"save them as {made}")
        fits = len(dims) == array.ndim or not inputs[name].HasField("shape")
        for dim, size in zip(dims, array.shape, strict=False):
            wanted_size = dim.dim_value if dim.HasField("dim_value") else size
            if dim.dim_param:
                wanted_size = sizes.setdefault(dim.dim_param, size)
            fits = fits and size == wanted_size
        if not fits:
            shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "any" for d in dims]
            raise UserError(f"its calibration data have the shape {list(array.shape)}, not {shape}", label, fix)
        if not array.size:
            raise UserError(f"its calibration data are empty: {list(array.shape)}", label, fix)


def _values(model: Model, names: Sequence[str], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What forests read."""
    computed = sorted(set(names) - arrays.keys())
    if not computed:
        return dict(arrays)
    cut = onnx.ModelProto()
    cut.CopyFrom(model.proto)
    needed, nodes = set(computed), []
    for node in reversed(model.proto.graph.node):
        if needed.intersection(node.output):
            needed.update(node_inputs(node))
            nodes.append(node)
    replace_nodes(cut.graph, nodes[::-1])
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    try:
        return {**arrays, **run_reference(cut, arrays)[1]}
    except ReferenceError as error:
        raise UserError(f"the calibration data cannot be run: {error}", model.name, "check their values") from error


def _count(node: onnx.NodeProto, rows: Array) -> None:
    """Writes into a forest's node which share of the rows passes each node; leaves count nothing.

    An invalid forest, which the compiler refuses later, stays as it is.
    """
    given = attributes_of(node)
    dtype = np.dtype(np.float64 if rows.dtype == np.float64 else np.float32)
    rows = np.atleast_2d(rows)

    def attribute(name: str, default: Any) -> Any:
        return given.get(name, default)

    try:
        if node.op_type == "TreeEnsemble":
            ensemble, _ = read_ensemble_of_5(attribute)
            dtype, kind = ensemble.value.dtype, numpy_helper.to_array(given["nodes_splits"]).dtype
            inner: Array = np.ones(len(ensemble.feature), bool)
        else:
            ensemble = read_ensemble(attribute, _KINDS[node.op_type], _ANY_COLUMN, dtype)
            kind, inner = np.dtype(np.float32), np.asarray([mode != b"LEAF" for mode in given["nodes_modes"]])
        if not len(inner) or ensemble.feature.max(initial=0) >= rows.shape[1]:
            return
        passed = passes(tests_of(ensemble), rows.astype(dtype))[: len(ensemble.feature)]
    except InvalidForest:
        return
    shares = np.zeros(len(inner), kind)
    shares[inner] = passed / len(rows)
    for old in [a for a in node.attribute if a.name.startswith("nodes_hitrates")]:
        node.attribute.remove(old)
    made = numpy_helper.from_array(shares) if node.op_type == "TreeEnsemble" else shares.tolist()
    node.attribute.append(helper.make_attribute("nodes_hitrates", made))


def passes(tests: Tests, rows: Array) -> Array:
    """How many of the rows pass each node, summed over the trees.

    Raises:
        InvalidForest: the nodes form a cycle.
    """
    counts: Array = np.zeros(len(tests.feature), np.int64)
    for root in tests.roots:
        at, who = np.full(len(rows), root), np.arange(len(rows))
        for _ in range(len(counts) + 1):
            going = at >= 0
            at, who = at[going], who[going]
            if not len(at):
                break
            counts += np.bincount(at, minlength=len(counts))
            value = rows[who, tests.feature[at]]
            value = np.where(tests.flip[at], -value, value)
            at = np.where(value <= tests.threshold[at], tests.high[at], tests.low[at])
        else:
            raise InvalidForest("its nodes form a cycle")
    return counts
