"""A float model in the form that is quantised: canonical, its shapes fixed, every node named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from ..frontend.bodies import expand_bodies
from ..frontend.prepare import Model, settle, upgraded
from .affine import fold_affine

_FUSED = "com.microsoft"  # whose operators hold products inside


def float_model(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """The model with constants folded, batch normalisations inside convolutions, and a name for every node.

    Its operators are those of ONNX, from operator set 13 on.

    Raises:
        UserError: a dynamic dimension without a shape, or contradictory shapes.
    """

    def expand(proto: onnx.ModelProto) -> onnx.ModelProto:
        fused = any(node.domain == _FUSED for node in proto.graph.node)
        return expand_bodies(proto, {}, model.name) if fused else proto

    proto = settle(upgraded(model.proto, shapes or {}, model.name), model.name, expand, programs=False)
    fold_affine(proto)
    proto = settle(proto, model.name, programs=False)
    name_nodes(proto.graph)
    return replace(model, proto=proto, path=None)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Gives each node a name of its own: what it has, or its first result's."""
    taken: set[str] = set()
    for node in graph.node:
        name = node.name if node.name and node.name not in taken else next(filter(None, node.output), node.op_type)
        node.name = name
        taken.add(name)
