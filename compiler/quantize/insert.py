"""Writes a quantised model: QuantizeLinear and DequantizeLinear around operators on floats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from ..errors import UserError
from ..frontend.graph import attributes_of
from ..frontend.infer import infer_shapes
from ..frontend.prepare import Model
from .affine import channel_axis
from .dynamic import quantize_dynamically, quantize_recurrent, recurrent_layers
from .equalise import even_out, spread_factors
from .graphs import Array, Graph
from .multipliers import as_bfloat16, short_scales, stored_result
from .places import Places, data_of, find_places, weight_axis
from .prune import prune_apart
from .ranges import STEPS, Histogram, Statistics, choose_range, scale_of
from .settings import WEIGHT_BITS, Settings
from .weight_only import FUSED, quantize_weights_only, weight_only_products
from .weight_range import limit_of
from .weights import Choose, dequantized, quantize_weights

_MOST_STEPS = 1 << 24  # which float32 counts
_STEPS_OF_BIAS = 1 << 15  # in a bias that nothing is added to


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
    """The quantised or pruned model; its inputs, outputs, names of nodes and of float tensors are as before.

    A tensor t that is stored as 8 bits is t/q there, and t/dq what these stand for.

    Args:
        model: from `float_model`.
        statistics: of it, from `observe`; needed for `int8`.

    Raises:
        UserError: no operator of the model can be quantised.
    """
    if settings.pruning is not None:
        return replace(model, proto=prune_apart(model.proto, settings.pruning, settings.keep))
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
        if not places.products and not settings.keep and not recurrent_layers(graph, settings):
            reason = "no Conv, Gemm, MatMul, LSTM, GRU or RNN outside of branches has fixed weights"
            what = f"nothing in the model can be quantised: {reason}"
            raise UserError(what, model.name, "compile it with --precision fp32")
        _Writer(graph, places, settings, statistics).write()
        quantize_recurrent(graph, settings)  # whose states have no range that sample data could show
    return replace(model, proto=infer_shapes(proto, model.name))


class _Writer:
    """Writes the nodes of a quantised graph one after another."""

    def __init__(self, graph: Graph, places: Places, settings: Settings, statistics: Statistics) -> None:
        self._graph, self._places, self._settings = graph, places, settings
        self._nodes: list[onnx.NodeProto] = []
        self._statistics = statistics
        self._made: set[str] = set()
        self._evened = even_out(graph, places, statistics, settings) if settings.equalise else {}
        self._factors = {name: factors for one in self._evened.values() for name, factors in one.factors.items()}
        self._scales = {first: self._scale(first, names) for first, names in places.groups().items()}
        for first, names in places.groups().items():
            if first in self._evened:
                self._shorten_factors(first, names)

    def write(self) -> None:
        stored = self._places.stored
        for name in stored:
            if name not in self._graph.producer:
                self._quantize(name)
        for node in self._graph.nodes:
            if node.name in self._places.moves:
                self._move(node)
                continue
            product = node.name in self._places.products
            if product:
                self._quantize_weights(node)
            elif node.op_type == "PRelu" and node.output[0] in stored:
                self._shorten_slopes(node)
            for place, name in enumerate(node.input):
                if name in stored and node.name not in self._places.floats:
                    node.input[place] = self._dequantized(name, even=product)
            self._nodes.append(node)
            for name in node.output:
                if name in stored:
                    self._quantize(name)
        self._graph.replace(self._nodes)

    def _scale(self, first: str, names: list[str]) -> tuple[str, str]:
        """Adds the scale and zero point that tensors share, and returns their names."""
        if first in self._evened:
            low, high = self._evened[first].low, self._evened[first].high
        else:
            seen = [histogram for name in names for histogram in self._histograms(name)]
            key = ("range", *names, self._settings.method, self._settings.percentile)
            low, high = self._statistics.remembered(key, lambda: choose_range(seen, self._settings))
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

    def _shorten_factors(self, first: str, names: list[str]) -> None:
        """Factors with which bfloat16 holds the scales of channels, as what reads them multiplies by them; where only
        products read them, which do not, their reciprocals, by which what they are quantised from is multiplied."""
        one = self._graph.constant(self._scales[first][0])
        assert one is not None
        floats = [user for name in names for user in self._graph.users[name] if user.name not in self._places.moves]
        by_reciprocals = all(user.name in self._places.products for user in floats)
        for name in names:
            if name in self._factors:
                scales = self._factors[name] * one
                short = 1 / as_bfloat16(1 / scales).astype(np.float64) if by_reciprocals else as_bfloat16(scales)
                self._factors[name] = short.astype(np.float32) / np.float64(one)

    def _histograms(self, name: str) -> list[Histogram]:
        """What was seen of a tensor, or of those that its values were moved from."""
        if name in self._statistics.histograms:
            return [self._statistics.histograms[name]]
        node = self._graph.producer.get(name)
        return [] if node is None else [one for source in data_of(node) for one in self._histograms(source)]

    def _margin(self, node: onnx.NodeProto | None) -> float:
        """What a Pad that moves 8 bits puts around them."""
        if node is None or node.op_type != "Pad" or node.name not in self._places.moves or len(node.input) < 3:
            return 0.0
        value = self._graph.constant(node.input[2]) if node.input[2] else None
        return 0.0 if value is None else float(value.reshape(()))

    def _quantize(self, name: str) -> None:
        self._add("QuantizeLinear", name, f"{name}/q", name, even=False)

    def _dequantized(self, name: str, even: bool) -> str:
        """The name of a stored tensor's floats, or if `even` of them divided by the channels' factors; computed where
        they are first read."""
        made = f"{name}/even" if even and name in self._factors else f"{name}/dq"
        if made not in self._made:
            self._made.add(made)
            self._add("DequantizeLinear", f"{name}/q", made, name, even)
        return made

    def _add(self, operator: str, data: str, result: str, name: str, even: bool) -> None:
        """A node that quantises or dequantises with a stored tensor's scale, or scales."""
        scale, zero = self._scales[self._places.stored[name]]
        made = helper.make_node(operator, [data, scale, zero], [result], name=f"{result}/{operator}")
        if name in self._factors and not even:
            factors, one, level = self._factors[name], self._graph.constant(scale), self._graph.constant(zero)
            assert one is not None and level is not None
            scale = self._graph.add_constant(f"{name}/scales", (factors * one).astype(np.float32))
            zero = self._graph.add_constant(f"{name}/zero_points", np.full(len(factors), level))
            made.input[1:] = [scale, zero]
            made.attribute.append(helper.make_attribute("axis", self._statistics.channels[name].axis))
        self._nodes.append(made)

    def _move(self, node: onnx.NodeProto) -> None:
        """A node that moves 8 bits; outputs of the graph become floats under their own names."""
        if node.op_type == "Pad" and attributes_of(node).get("mode", b"constant") == b"constant":
            scale, zero = (self._graph.constant(n) for n in self._scales[self._places.stored[node.output[0]]])
            assert scale is not None and zero is not None
            level = np.clip(np.rint(self._margin(node) / scale) + zero, 0, STEPS)
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
                self._add("DequantizeLinear", f"{name}/q", name, name, even=False)

    def _quantize_weights(self, node: onnx.NodeProto) -> None:
        weights = self._graph.constant(node.input[1])
        assert weights is not None
        factors = self._factors.get(node.input[0])
        spread = np.float32(1) if factors is None else spread_factors(node, weights, factors)
        axis = weight_axis(node) if self._settings.per_channel else None
        limit = limit_of(self._graph, node, weights * spread, self._settings, self._statistics)
        integers, scales = quantize_weights(weights * spread, axis, limit, self._choice(node))
        if self._settings.correct_bias:
            self._correct_bias(node, dequantized(integers, scales, axis) / spread - weights)
        if axis is not None:
            others = tuple(i for i in range(integers.ndim) if i != axis % integers.ndim)
            self._round_bias(node, scales, np.asarray(integers.any(others)))
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

    def _round_bias(self, node: onnx.NodeProto, scales: Array, used: Array) -> None:
        """A product's bias as a whole number of its sums' steps, which the compiler finds again.

        Sums of the channels that are not `used` are zero in any steps, and get such that hold their bias.
        """
        bias = self._graph.constant(node.input[2]) if len(node.input) > 2 else None
        if node.op_type not in ("Conv", "Gemm") or bias is None or bias.shape != scales.shape:
            return
        data = self._graph.constant(self._scales[self._places.stored[node.input[0]]][0])
        assert data is not None
        finest = np.abs(bias) / (_STEPS_OF_BIAS * data)
        fine = ~used & (finest > np.finfo(np.float32).tiny)
        scales[fine] = self._choice(node)(np.where(fine, finest, scales).astype(np.float32))[fine]
        steps = (data * scales).astype(np.float64)
        with np.errstate(all="ignore"):
            counts = np.rint(bias / steps)
        if (np.abs(counts) < _MOST_STEPS).all():
            rounded = (counts * steps).astype(np.float32)
            node.input[2] = self._graph.add_constant(f"{node.output[0]}/whole_bias", rounded)

    def _shorten_slopes(self, node: onnx.NodeProto) -> None:
        """Slopes in bfloat16, with as many bits as weights have, before results of 8 bits."""
        slopes = self._graph.constant(node.input[1])
        if slopes is None:
            return
        node.input[1] = self._graph.add_constant(f"{node.output[0]}/slopes", as_bfloat16(slopes))

    def _choice(self, node: onnx.NodeProto) -> Choose:
        """Scales of a product's weights that make its multipliers short."""
        data = self._graph.constant(self._scales[self._places.stored[node.input[0]]][0])
        assert data is not None
        result: Array = np.ones((), np.float32)
        name = stored_result(self._graph, node, self._places.stored)
        if name is not None:
            one = self._graph.constant(self._scales[self._places.stored[name]][0])
            assert one is not None
            result = (one * self._factors.get(name, np.float32(1))).astype(np.float32)
        return lambda scales: short_scales(scales, data, result) if result.size in (1, scales.size) else scales

    def _correct_bias(self, node: onnx.NodeProto, change: Array) -> None:
        """Takes the mean of what changed weights add to a product's results off its bias (Nagel et al., 2019).

        Beyond the edges of a convolution's data are zeros, which the mean leaves out of account.
        """
        seen = self._statistics.channels.get(node.input[0])
        bias = self._graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.float32)
        if seen is None or node.op_type not in ("Conv", "Gemm") or bias is None or bias.size != bias.shape[-1]:
            return
        by_result = np.moveaxis(change * spread_factors(node, change, seen.mean), channel_axis(node), 0)
        mean = by_result.reshape(len(by_result), -1).sum(1)
        name = f"{node.output[0]}/corrected_bias"
        corrected = self._graph.add_constant(name, (bias.reshape(-1) - mean).astype(np.float32))
        node.input[:] = [*node.input[:2], corrected]
