"""Which weights are made smaller than 8 bits allow, for kernels of targets without dot products of 8 bits.

Where sums of products fit 16 bits, kernels are about twice as fast (kernels/weight_limit.py). A channel's weights get a
larger step for that, just so large that they keep to the target's limit, and so more noise from rounding. A layer whose
noise would grow too much by it keeps the whole range, and takes a kernel that is exact with any weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..frontend.graph import attributes_of
from ..kernels.weight_limit import WORD, WeightLimit, has_few_channels, in_runs
from .affine import channel_axis
from .equalise import spread_factors
from .graphs import Array, Graph
from .places import find_places, weight_axis
from .ranges import STEPS, Statistics
from .settings import WEIGHT_BITS, Settings
from .weights import Limit, rounded_weights

if TYPE_CHECKING:
    from ..kernels.limits import Limits

# How many times the noise power in a layer's results may be what it is with the whole range.
_MOST_NOISE = 5.0


def limited_layers(graph: Graph, settings: Settings, statistics: Statistics | None) -> tuple[list[str], list[str]]:
    """Names of nodes whose weights are limited, and of those that have the whole range though the target has a limit.

    Args:
        graph: of the float model.
    """
    limited: list[str] = []
    whole: list[str] = []
    if settings.limits is None or settings.pruning is not None or settings.precision in WEIGHT_BITS:
        return limited, whole
    for node in find_places(graph, settings).products.values():
        weights = graph.constant(node.input[1])
        if settings.precision == "int8-dynamic" and node.op_type not in ("Gemm", "MatMul"):
            continue
        if weights is None or find_limit(graph, node, settings) is None:
            continue
        used = limit_of(graph, node, weights, settings, statistics)
        (whole if used is None else limited).append(node.name)
    return limited, whole


def limit_of(
    graph: Graph, node: onnx.NodeProto, weights: Array, settings: Settings, statistics: Statistics | None = None
) -> Limit | None:
    """What a product's weights are to keep to; None if they may be any.

    Args:
        weights: in the form of the node's, with which its data are multiplied in the quantised model.
        statistics: of the model; None to limit weights whatever noise that makes.
    """
    limit = find_limit(graph, node, settings)
    if limit is None or node.name in settings.whole_range:
        return None
    seen = None if statistics is None else statistics.channels.get(node.input[0])
    if seen is None or node.op_type == "ConvTranspose":
        return limit
    axis = weight_axis(node) if settings.per_channel else None
    power = spread_factors(node, weights, seen.square)
    step = (seen.high.max() - seen.low.min()) / STEPS
    of_data = step**2 / 12 * np.square(weights, dtype=np.float64).sum()
    whole, limited = (
        of_data + float(np.sum((rounded_weights(weights, axis, one) - weights) ** 2 * power)) for one in (None, limit)
    )
    return limit if limited <= _MOST_NOISE * whole else None


def find_limit(graph: Graph, node: onnx.NodeProto, settings: Settings) -> Limit | None:
    """What the kernel of a product asks of its weights, whatever that costs; None for nothing."""
    limits, shape = settings.limits, graph.shape(node.input[1])
    if limits is None or limits.weights is None or len(shape) > 4:
        return None
    asked = _asked(graph, node, limits, limits.weights)
    return asked if asked is not None and asked(np.ones(shape, np.float32)).any() else None


def _asked(graph: Graph, node: onnx.NodeProto, limits: Limits, limit: WeightLimit) -> Limit | None:
    from ..passes.pack_weights import SHORT_RUN  # these bring TVM
    from ..passes.patches import takes_patches
    from ..passes.winograd import integer_tile

    attributes, shape = attributes_of(node), graph.shape(node.input[1])
    groups = int(attributes.get("group", 1))
    if node.op_type in ("Gemm", "MatMul"):
        outputs_first = channel_axis(node) == 0
        return (lambda w: limit.factors(w.T if outputs_first else w)) if len(shape) == 2 else None
    if node.op_type == "ConvTranspose":
        return (lambda w: limit.factors(_channels_last(w.swapaxes(0, 1)))) if groups == 1 else None
    if groups == graph.shape(node.input[0])[1] == shape[0] > 1:
        return lambda w: limit.factors_of_filters(_rows(_channels_last(w))[..., 0, :])
    ones = [*attributes.get("strides", ()), *attributes.get("dilations", ()), groups]
    if shape[2:] == (3, 3) and set(ones) == {1}:
        n, outputs, *size = graph.shape(node.output[0])
        if integer_tile([n, *size, outputs], shape[1], limits):
            return None  # which multiplies 16 bits
    dilation = attributes.get("dilations", [1])[-1]
    if groups > 1 and (limits.partial_sums or shape[1] % WORD):
        return None
    if limits.partial_sums and len(shape) == 4:
        n, outputs, *size = graph.shape(node.output[0])
        if takes_patches([*shape[2:], shape[1]], [n, *size, outputs], dilation, limits):
            return lambda w: limit.factors(_channels_last(w).reshape(-1, w.shape[0]))
    if limits.partial_sums and shape[1] * shape[-1] <= SHORT_RUN:
        return None  # which multiplies 16 bits too
    if limits.partial_sums:  # along rows of the kernel as far as data lie side by side
        return lambda w: limit.factors(_channels_last(w) if dilation > 1 else in_runs(_rows(_channels_last(w)), 1))
    if groups == 1 and has_few_channels(shape[1], shape[-1], dilation):
        return lambda w: limit.factors(in_runs(_rows(_channels_last(w)), WORD))
    return lambda w: limit.factors(_channels_last(w))


def _channels_last(weights: Array) -> Array:
    """[O, I, ...] → [..., I, O]."""
    return np.moveaxis(weights, (0, 1), (-1, -2))


def _rows(kernel: Array) -> Array:
    """A kernel along one axis as one of a single row."""
    return kernel if kernel.ndim == 4 else kernel[None]
