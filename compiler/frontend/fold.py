"""Computes what does not depend on the model's inputs, with onnx's reference implementation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .graph import node_inputs, replace_nodes
from .quantised import weights_of_products
from .shapes import Types, static_shape

# A constant that the graph blows up (Expand, Tile, ConstantOfShape) stays an operation above this size.
MAX_GROWN_BYTES = 1 << 20

# Only operators whose time and memory follow from the sizes of their inputs and results, for the model is not
# trusted: no loops, no windows whose padding is never seen in the result; nothing random either.
_FOLDABLE = (
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot "
    "BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu Clip Compress Concat ConstantOfShape "
    "Cos Cosh CumSum DepthToSpace DequantizeLinear Div Elu Equal Erf Exp Expand EyeLike Flatten Floor "
    "Gather GatherElements GatherND Gemm Greater GreaterOrEqual HammingWindow HannWindow HardSigmoid "
    "HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log MatMul Max Mean MelWeightMatrix Min "
    "Mod Mul Neg NonZero Not OneHot Or Pad Pow PRelu QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 "
    "ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare "
    "Relu Reshape Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softplus "
    "Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose Trilu Unique "
    "Unsqueeze Where Xor"
)
FOLDABLE = frozenset(_FOLDABLE.split())
# The size of these results depends on the values, but is bounded by that of the inputs.
_BOUNDED = frozenset(("NonZero", "Unique", "Compress"))


def fold_constants(model: onnx.ModelProto, types: Types) -> int:
    """Replaces nodes whose inputs are constant or have no elements by initializers; returns how many."""
    graph = model.graph
    values = {t.name: t for t in graph.initializer}
    # What has no elements is known without being given.
    for name, (elem_type, shape) in types.items():
        if name not in values and elem_type and elem_type != onnx.TensorProto.STRING and shape and 0 in shape:
            values[name] = onnx.helper.make_tensor(name, elem_type, shape, b"", raw=True)
    held = weights_of_products(graph)
    kept = []
    for node in graph.node:
        inputs = [values[name] for name in dict.fromkeys(node_inputs(node)) if name in values]
        constant = len(inputs) == len(set(node_inputs(node)))
        constant = constant and held.isdisjoint(node.output)
        tensors = _evaluate(model, node, inputs, types) if constant else None
        if tensors is None:
            kept.append(node)
            continue
        for tensor in tensors:
            values[tensor.name] = tensor
            graph.initializer.append(tensor)
    folded = len(graph.node) - len(kept)
    if folded:
        replace_nodes(graph, kept)
    return folded


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, inputs: list[onnx.TensorProto], types: Types
) -> list[onnx.TensorProto] | None:
    """The node's results, or None if it shall stay in the graph."""
    if node.domain or node.op_type not in FOLDABLE:
        return None
    known = {name: types.get(name, (0, None)) for name in node.output if name}
    if any(not elem_type or shape is None for elem_type, shape in known.values()):
        known |= _infer(model, node, inputs)
    if _too_large(node, inputs, known):
        return None
    graph = onnx.helper.make_graph(
        [node], "fold", [], [onnx.ValueInfoProto(name=name) for name in known], initializer=inputs
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = ReferenceEvaluator(single).run(None, {})
        tensors = [numpy_helper.from_array(np.asarray(r), name) for r, name in zip(results, known, strict=True)]
    except Exception:  # the reference lacks the operator or the case: the node then simply stays in the graph
        return None
    return tensors if all(_fits(tensor, *known[tensor.name]) for tensor in tensors) else None


def _infer(model: onnx.ModelProto, node: onnx.NodeProto, inputs: list[onnx.TensorProto]) -> Types:
    """Types and shapes of a node's results, from inputs that became known after the graph's inference."""
    names = [name for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node], "infer", [], [onnx.ValueInfoProto(name=n) for n in names], initializer=inputs
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        inferred = onnx.shape_inference.infer_shapes(single, data_prop=True)
    except Exception:  # whatever is wrong with the node, the graph's own inference reports it
        return {}
    return {v.name: (v.type.tensor_type.elem_type, static_shape(v)) for v in inferred.graph.output}


def _too_large(node: onnx.NodeProto, inputs: list[onnx.TensorProto], known: Types) -> bool:
    taken = sum(math.prod(t.dims) for t in inputs)
    made = 0
    for _, shape in known.values():
        if shape is None:
            return node.op_type not in _BOUNDED
        made += math.prod(shape)
    return made * 4 > MAX_GROWN_BYTES and made > taken


def _fits(tensor: onnx.TensorProto, elem_type: int, shape: tuple[int, ...] | None) -> bool:
    """Whether a result has the type that the standard says; not all of the reference's operators care."""
    return tensor.data_type == elem_type and shape in (None, tuple(tensor.dims))


def constants_to_initializers(graph: onnx.GraphProto) -> int:
    """Turns Constant nodes into initializers, takes initializers out of the inputs; returns how many."""
    names = {t.name for t in graph.initializer}
    inputs = [v for v in graph.input if v.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)
    kept, made = [], 0
    for node in graph.node:
        tensor = _constant_value(node) if node.op_type == "Constant" and not node.domain else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            made += 1
    if made:
        replace_nodes(graph, kept)
    return made


_CONSTANT_TYPES: Mapping[str, type] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(attribute.t)
            return tensor
        if attribute.name in _CONSTANT_TYPES:
            value = onnx.helper.get_attribute_value(attribute)
            return numpy_helper.from_array(np.asarray(value, _CONSTANT_TYPES[attribute.name]))
    return None
