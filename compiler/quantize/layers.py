"""Which layers suffer from quantisation: each one's results beside those of the float model, on sample data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..frontend.graph import sort_nodes
from ..frontend.prepare import Model
from ..frontend.shapes import Types, value_table
from ..verify.similarity import Similarity
from .data import Samples
from .ranges import MANY, Array, some
from .runner import Runner

_ALONE = "alone/"  # before the names of values that a layer computes with integers beside the float one
_FLOAT = "float/"  # before the name of a layer's float result, where its own name is for the one that is chosen
_GATES = "gates/"  # the input that chooses

# Samples that each layer alone is quantised for, to see what that does to the outputs; fewer where layers are many.
_FEWEST, _MOST, _RUNS = 2, 4, 160


@dataclass(frozen=True)
class Layer:
    """A quantised node beside its float original.

    Attributes:
        name, operator: of the node.
        macs: multiplications of a run, 0 of one that is no product or convolution.
        snr, cosine: of its result in the quantised model; dB.
        alone_snr, alone_cosine: of its result if it alone is quantised.
        output_snr: then of the model's outputs, the one with the least; layers are ordered by it, as noise that is
            small in a layer may be large in what follows from it.
    """

    name: str
    operator: str
    macs: int
    snr: float
    cosine: float
    alone_snr: float
    alone_cosine: float
    output_snr: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with digits that mean something."""
        ratios = {"snr_db": self.snr, "alone_snr_db": self.alone_snr, "output_snr_db": self.output_snr}
        ratios = {key: round(ratio, 1) for key, ratio in ratios.items()}
        cosines = {"cosine": round(self.cosine, 5), "alone_cosine": round(self.alone_cosine, 5)}
        return {"name": self.name, "operator": self.operator, "macs": self.macs, **ratios, **cosines}


def measure_layers(floats: Model, quantised: Model, samples: Samples, cache: bool = True) -> list[Layer]:
    """The layers, the one that costs the outputs most first.

    One model is compiled in which each layer stands twice, as it is in the float model and as in the quantised one, and
    an input chooses for each layer whose result goes on.

    Args:
        floats: from `float_model`.
        quantised: from `quantize_model`.
        samples: go through the model one by one; a few dozen suffice.
        cache: of compiled kernels.
    """
    nodes = {node.name: node for node in floats.proto.graph.node}
    chosen = {name: nodes[name].output[0] for name in quantised_layers(floats.proto, quantised.proto)}
    if not chosen:
        return []
    tensors = list(chosen.values())
    both = {tensor: Similarity() for tensor in tensors}
    alone = {tensor: Similarity() for tensor in tensors}
    outputs = [value.name for value in floats.proto.graph.output]
    none, single = np.zeros(len(tensors), np.float32), np.eye(len(tensors), dtype=np.float32)
    after = [{name: Similarity() for name in outputs} for _ in tensors]
    count = min(max(_RUNS // len(tensors), _FEWEST), _MOST)
    few = range(0, len(samples), max(1, len(samples) // count))[:count]
    gated, watched = with_gates(floats.proto, quantised.proto, tensors), (*tensors, *(_ALONE + t for t in tensors))
    with Runner(gated, watched, cache=cache) as run:
        for number, feeds in enumerate(samples):
            expected, found = (run({**feeds, _GATES: gates}) for gates in (none, none + 1))
            for tensor in tensors:
                wanted = _sampled(expected[tensor])
                both[tensor].add(_sampled(found[tensor]), wanted)
                alone[tensor].add(_sampled(expected[_ALONE + tensor]), wanted)
            for gates, sums in zip(single, after, strict=True) if number in few else ():
                made = run({**feeds, _GATES: gates})
                for name in outputs:
                    sums[name].add(made[name], expected[name])
    costs = macs_of(floats.proto)
    layers = [
        Layer(
            name,
            nodes[name].op_type,
            costs.get(name, 0),
            both[tensor].snr,
            both[tensor].cosine,
            alone[tensor].snr,
            alone[tensor].cosine,
            min(one.snr for one in sums.values()),
        )
        for (name, tensor), sums in zip(chosen.items(), after, strict=True)
    ]
    return sorted(layers, key=lambda layer: (layer.output_snr, layer.alone_snr))


def _sampled(array: Array) -> Array:
    """Values of a layer's result, [1, n], of many some: ratios of sums over tens of thousands are those over all."""
    return some(array.reshape(1, -1), MANY)


def quantised_layers(floats: onnx.ModelProto, quantised: onnx.ModelProto) -> list[str]:
    """Names of the nodes that read something else in the quantised model, and whose result is a float there too."""
    twins = {node.name: node for node in quantised.graph.node}
    made = {name for node in quantised.graph.node for name in node.output}
    return [
        node.name
        for node in floats.graph.node
        if node.name in twins and list(twins[node.name].input) != list(node.input) and node.output[0] in made
    ]


def with_gates(floats: onnx.ModelProto, quantised: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The float model, and beside it what the quantised one does between the float tensors: each of `tensors` is
    computed once more from the nearest float tensors before it, and is that where the gate of its number is not 0."""
    model = onnx.ModelProto()
    model.CopyFrom(floats)
    del model.opset_import[:]
    model.opset_import.extend(quantised.opset_import)
    known = {v.name for v in floats.graph.input}.union(*(node.output for node in floats.graph.node))
    makers = {name: node for node in quantised.graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in quantised.graph.initializer}
    made: dict[str, onnx.NodeProto | onnx.TensorProto] = {}

    def copy(name: str) -> None:
        """Adds what computes a tensor, what it reads before it; not recursive, as chains may be long."""
        waiting = [name]
        while waiting:
            name = waiting[-1]
            if name in made:
                waiting.pop()
                continue
            if name in constants:
                tensor = onnx.TensorProto()
                tensor.CopyFrom(constants[name])
                tensor.name = _ALONE + name
                made[name] = tensor
                continue
            node = makers[name]
            missing = [i for i in node.input if i and i not in known and i not in made]
            if missing:
                waiting += missing
                continue
            twin = onnx.NodeProto()
            twin.CopyFrom(node)
            twin.name = _ALONE + node.name
            twin.input[:] = [i if not i or i in known else _ALONE + i for i in node.input]
            twin.output[:] = [_ALONE + o if o else o for o in node.output]
            made.update(dict.fromkeys(filter(None, node.output), twin))

    table = value_table(floats.graph)
    for tensor in tensors:
        copy(tensor)
        model.graph.value_info.append(helper.make_tensor_value_info(_ALONE + tensor, *table[tensor]))
    unique = {id(item): item for item in made.values()}.values()
    for node in model.graph.node:
        node.output[:] = [_FLOAT + name if name in tensors else name for name in node.output]
    model.graph.node.extend(item for item in unique if isinstance(item, onnx.NodeProto))
    model.graph.initializer.extend(item for item in unique if isinstance(item, onnx.TensorProto))
    model.graph.input.append(helper.make_tensor_value_info(_GATES, onnx.TensorProto.FLOAT, [len(tensors)]))
    for number, name in enumerate(tensors):
        index, gate, choice = (f"{_GATES}{part}/{name}" for part in ("index", "gate", "choice"))
        model.graph.initializer.append(helper.make_tensor(index, onnx.TensorProto.INT64, [], [number]))
        model.graph.node.extend(
            [
                helper.make_node("Gather", [_GATES, index], [gate], name=gate),
                helper.make_node("Cast", [gate], [choice], name=choice, to=onnx.TensorProto.BOOL),
                helper.make_node("Where", [choice, _ALONE + name, _FLOAT + name], [name], name=_GATES + name),
            ]
        )
    sort_nodes(model.graph, "the model")
    return model


def macs_of(proto: onnx.ModelProto) -> dict[str, int]:
    """Multiplications of each product and convolution by its name, in a graph whose shapes are all known."""
    types = value_table(proto.graph)
    return {node.name: _macs(node, types) for node in proto.graph.node if node.op_type in _MACS}


def _macs(node: onnx.NodeProto, types: Types) -> int:
    left, right, result = (types[name][1] or () for name in (*node.input[:2], node.output[0]))
    return _MACS[node.op_type](node, left, right, result)


def _of_conv(_node: onnx.NodeProto, _left: Sequence[int], right: Sequence[int], result: Sequence[int]) -> int:
    return math.prod(result) * math.prod(right[1:])


def _of_transposed(_node: onnx.NodeProto, left: Sequence[int], right: Sequence[int], _result: Sequence[int]) -> int:
    return math.prod(left) * math.prod(right[1:])


def _of_product(node: onnx.NodeProto, left: Sequence[int], _right: Sequence[int], result: Sequence[int]) -> int:
    flipped = any(a.name == "transA" and helper.get_attribute_value(a) for a in node.attribute)
    return math.prod(result) * (left[0] if flipped else left[-1]) if left else 0


_MACS = {"Conv": _of_conv, "ConvTranspose": _of_transposed, "Gemm": _of_product, "MatMul": _of_product}


def share_of_macs(names: Iterable[str], macs: Mapping[str, int]) -> float:
    """Which share of all multiplications the named nodes do; 0 if there are none."""
    return sum(macs.get(name, 0) for name in names) / max(sum(macs.values()), 1)
