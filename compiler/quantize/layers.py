"""Which layers suffer from quantisation: each one's results beside those of the float model, on sample data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from ..frontend.prepare import Model
from ..frontend.shapes import Types, value_table
from ..verify.similarity import Similarity
from .data import Feeds
from .runner import Runner

_ALONE = "alone/"  # before the names of values that a layer computes beside the float model


@dataclass(frozen=True)
class Layer:
    """A quantised node beside its float original.

    Attributes:
        name, operator: of the node.
        macs: multiplications of a run, 0 of one that is no product or convolution.
        snr, cosine: of its result in the quantised model; dB.
        alone_snr, alone_cosine: if it alone were quantised: what it reads comes from the float model.
    """

    name: str
    operator: str
    macs: int
    snr: float
    cosine: float
    alone_snr: float
    alone_cosine: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with digits that mean something."""
        ratios = {"snr_db": round(self.snr, 1), "alone_snr_db": round(self.alone_snr, 1)}
        cosines = {"cosine": round(self.cosine, 5), "alone_cosine": round(self.alone_cosine, 5)}
        return {"name": self.name, "operator": self.operator, "macs": self.macs, **ratios, **cosines}


def measure_layers(floats: Model, quantised: Model, samples: Iterable[Feeds]) -> list[Layer]:
    """The layers, the one that adds most noise of its own first.

    Two models are compiled, of which all layers' results can be read: the quantised one; and the float one, beside
    whose layers stand their quantised copies that read the float values.

    Args:
        floats: from `float_model`.
        quantised: from `quantize_model`.
        samples: go through both models one by one; a few dozen suffice.
    """
    nodes = {node.name: node for node in floats.proto.graph.node}
    chosen = {name: nodes[name].output[0] for name in quantised_layers(floats.proto, quantised.proto)}
    if not chosen:
        return []
    beside = beside_floats(floats.proto, quantised.proto, list(chosen.values()))
    both = {name: Similarity() for name in chosen}
    alone = {name: Similarity() for name in chosen}
    wanted = tuple(chosen.values())
    with (
        Runner(beside, (*wanted, *(_ALONE + tensor for tensor in wanted))) as reference,
        Runner(quantised.proto, wanted) as tested,
    ):
        for feeds in samples:
            expected, found = reference(feeds), tested(feeds)
            for name, tensor in chosen.items():
                both[name].add(found[tensor], expected[tensor])
                alone[name].add(expected[_ALONE + tensor], expected[tensor])
    costs = macs_of(floats.proto)
    layers = [
        Layer(
            name,
            nodes[name].op_type,
            costs.get(name, 0),
            both[name].snr,
            both[name].cosine,
            alone[name].snr,
            alone[name].cosine,
        )
        for name in chosen
    ]
    return sorted(layers, key=lambda layer: (layer.alone_snr, layer.snr))


def quantised_layers(floats: onnx.ModelProto, quantised: onnx.ModelProto) -> list[str]:
    """Names of the nodes that read something else in the quantised model, and whose result is a float there too."""
    twins = {node.name: node for node in quantised.graph.node}
    made = {name for node in quantised.graph.node for name in node.output}
    return [
        node.name
        for node in floats.graph.node
        if node.name in twins and list(twins[node.name].input) != list(node.input) and node.output[0] in made
    ]


def beside_floats(floats: onnx.ModelProto, quantised: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """The float model, and beside it what the quantised one does between the float tensors: each of `tensors` is
    computed once more, under a name of its own, from the nearest float tensors before it."""
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
            inputs = [i if not i or i in known else _ALONE + i for i in node.input]
            outputs = [_ALONE + o if o else o for o in node.output]
            del twin.input[:], twin.output[:]
            twin.input.extend(inputs)
            twin.output.extend(outputs)
            made.update(dict.fromkeys(filter(None, node.output), twin))

    table = value_table(floats.graph)
    for tensor in tensors:
        copy(tensor)
        model.graph.value_info.append(helper.make_tensor_value_info(_ALONE + tensor, *table[tensor]))
    unique = {id(item): item for item in made.values()}.values()
    model.graph.node.extend(item for item in unique if isinstance(item, onnx.NodeProto))
    model.graph.initializer.extend(item for item in unique if isinstance(item, onnx.TensorProto))
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
