"""Writes a quantised model: QuantizeLinear and DequantizeLinear around operators on floats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from ..errors import UserError
from ..frontend.infer import infer_shapes
from ..frontend.prepare import Model
from .dynamic import quantize_dynamically
from .graphs import Graph, attributes_of
from .places import Places, data_of, find_places, weight_axis
from .ranges import Statistics, choose_range, scale_of
from .settings import WEIGHT_BITS, Settings
from .weight_only import FUSED, quantize_weights_only, weight_only_products
from .weights import quantize_weights


def quantizable(model: Model, settings: Settings) -> list[str]:
    """Names of the nodes that `quantize_model` makes products of integers, in the graph's order.

    Args:
        model: from `float_model`.
    """
    graph = Graph(model.proto.graph)
    if settings.precision in WEIGHT_BITS:
        return list(weight_only_products(graph, settings))
    return list(find_places(graph, settings).products)


def quantize_model(model: Model, settings: Settings, statistics: Statistics | None = None) -> Model:
    """The quantised model; its inputs, outputs, and the names of its nodes and of float tensors are as before.

    A tensor t that is stored as 8 bits is t/q there, and t/dq what these stand for.

    Args:
        model: from `float_model`.
        statistics: of it, from `observe`; needed for `int8`.

    Raises:
        UserError: no operator of the model can be quantised.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = Graph(proto.graph)
    if settings.precision == "int8-dynamic":
        quantize_dynamically(graph, settings, model.name)
    elif settings.precision in WEIGHT_BITS:
        quantize_weights_only(graph, settings, model.name)
        if not any(entry.domain == FUSED for entry in proto.opset_import):
            proto.opset_import.append(helper.make_opsetid(FUSED, 1))
    else:
        assert statistics is not None
        places = find_places(graph, settings)
        if not places.products and not settings.keep:
            what = "nothing in the model can be quantised: it has no Conv, Gemm or MatMul with constant weights"
            raise UserError(what, model.name, "compile it with --precision fp32")
        _Writer(graph, places, settings, statistics).write()
    return replace(model, proto=infer_shapes(proto, model.name))


class _Writer:
    """Writes the nodes of a quantised graph one after another."""

    def __init__(self, graph: Graph, places: Places, settings: Settings, statistics: Statistics) -> None:
        self._graph, self._places, self._settings = graph, places, settings
        self._nodes: list[onnx.NodeProto] = []
        self._read: set[str] = set()  # stored tensors whose floats are there
        self._scales = {first: self._scale(first, names, statistics) for first, names in places.groups().items()}

    def write(self) -> None:
        stored = self._places.stored
        for name in stored:
            if name not in self._graph.producer:
                self._quantize(name)
        for node in self._graph.nodes:
            if node.name in self._places.moves:
                self._move(node)
                continue
            for place, name in enumerate(node.input):
                if name in stored:
                    node.input[place] = self._dequantized(name)
            if node.name in self._places.products:
                self._quantize_weights(node)
            self._nodes.append(node)
            for name in node.output:
                if name in stored:
                    self._quantize(name)
        self._graph.replace(self._nodes)

    def _scale(self, first: str, names: list[str], statistics: Statistics) -> tuple[str, str]:
        """Adds the scale and zero point that tensors share, and returns their names."""
        low, high = choose_range(
            (statistics.histograms[n] for n in names if n in statistics.histograms), self._settings
        )
        for name in names:  # constants that are moved, and margins
            value = self._graph.constant(name)
            if value is not None:
                low, high = min(low, float(value.min())), max(high, float(value.max()))
            margin = self._margin(self._graph.producer.get(name))
            low, high = min(low, margin), max(high, margin)
        scale, zero = scale_of(low, high)
        return (
            self._graph.add_constant(f"{first}/scale", np.asarray(scale)),
            self._graph.add_constant(f"{first}/zero_point", np.asarray(zero)),
        )

    def _margin(self, node: onnx.NodeProto | None) -> float:
        """What a Pad that moves 8 bits puts around them."""
        if node is None or node.op_type != "Pad" or node.name not in self._places.moves or len(node.input) < 3:
            return 0.0
        value = self._graph.constant(node.input[2]) if node.input[2] else None
        return 0.0 if value is None else float(value.reshape(()))

    def _quantize(self, name: str) -> None:
        self._add("QuantizeLinear", [name, *self._scales[self._places.stored[name]]], f"{name}/q")

    def _dequantized(self, name: str) -> str:
        """The name of a stored tensor's floats, computed where they are first read."""
        made = f"{name}/dq"
        if name not in self._read:
            self._read.add(name)
            self._add("DequantizeLinear", [f"{name}/q", *self._scales[self._places.stored[name]]], made)
        return made

    def _move(self, node: onnx.NodeProto) -> None:
        """A node that moves 8 bits; outputs of the graph become floats under their own names."""
        scale, zero = self._scales[self._places.stored[node.output[0]]]
        if node.op_type == "Pad" and attributes_of(node).get("mode", b"constant") == b"constant":
            levels = self._graph.constant(scale), self._graph.constant(zero)
            level = np.clip(np.rint(self._margin(node) / float(levels[0])) + int(levels[1]), 0, 255)  # type: ignore[arg-type]
            while len(node.input) < 3:
                node.input.append("")
            node.input[2] = self._graph.add_constant(f"{node.output[0]}/margin", np.asarray(level, np.uint8))
        for place in range(len(data_of(node))):
            node.input[place] = f"{node.input[place]}/q"
        results = list(node.output)
        node.output[:] = [f"{name}/q" for name in results]
        self._nodes.append(node)
        for name in results:
            if name in self._graph.outputs:
                self._add("DequantizeLinear", [f"{name}/q", scale, zero], name)

    def _quantize_weights(self, node: onnx.NodeProto) -> None:
        weights = self._graph.constant(node.input[1])
        assert weights is not None
        axis = weight_axis(node) if self._settings.per_channel else None
        integers, scales = quantize_weights(weights, axis)
        if axis is not None:
            axis %= weights.ndim
        name = node.input[1] if len(self._graph.users[node.input[1]]) == 1 else f"{node.name}/{node.input[1]}"
        inputs = [
            self._graph.add_constant(f"{name}/q", integers),
            self._graph.add_constant(f"{name}/scale", scales),
            self._graph.add_constant(f"{name}/zero_point", np.zeros_like(scales, np.int8)),
        ]
        made = helper.make_node("DequantizeLinear", inputs, [f"{name}/dq"], name=f"{name}/dq", axis=axis or 0)
        self._nodes.append(made)
        node.input[1] = f"{name}/dq"

    def _add(self, operator: str, inputs: list[str], result: str) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [result], name=result))
