"""Forms of operators that onnx's inference refuses or does not understand, rewritten to ones that it does."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from .graph import replace_nodes
from .shapes import Types

_ALWAYS = 1 << 30
# Defaults by operator: those that onnx infers shapes from and forgets, and those that a later operator set changed,
# which is named here.
_DEFAULTS: dict[str, tuple[int, str, int | str | list[int]]] = {
    "DFT": (20, "axis", 1),
    "MeanVarianceNormalization": (_ALWAYS, "axes", [0, 2, 3]),
    "RoiAlign": (16, "coordinate_transformation_mode", "output_half_pixel"),
    "STFT": (_ALWAYS, "onesided", 1),
}


def make_canonical(graph: onnx.GraphProto, opset: int) -> None:
    """Defaults are stated; bounds of a Range become scalars, axes lists.

    The standard's own function bodies have the wrong ones of both.
    """
    constants = {t.name: t for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []

    def reshaped(name: str, shape: list[int]) -> str:
        made, shape_name = f"{name}/{len(shape)}d", f"edgec/{len(shape)}d"
        if not any(node.output[0] == made for node in nodes):
            nodes.append(onnx.helper.make_node("Reshape", [name, shape_name], [made], name=made))
        if shape_name not in constants:
            graph.initializer.append(numpy_helper.from_array(np.asarray(shape, np.int64), shape_name))
            constants[shape_name] = graph.initializer[-1]
        return made

    for node in graph.node:
        given = {a.name for a in node.attribute}
        if node.domain:
            pass
        elif node.op_type == "Range":
            for place, name in enumerate(node.input):
                if not name.endswith("/0d") and (name not in constants or constants[name].dims):
                    node.input[place] = reshaped(name, [])
        elif node.op_type in ("Squeeze", "Unsqueeze") and len(node.input) > 1:
            name = node.input[1]
            if name in constants and not constants[name].dims:
                node.input[1] = reshaped(name, [1])
        until, attribute, default = _DEFAULTS.get(node.op_type, (0, "", 0))
        if not node.domain and opset < until and attribute not in given:
            node.attribute.append(onnx.helper.make_attribute(attribute, default))
        nodes.append(node)
    if len(nodes) > len(graph.node):
        replace_nodes(graph, nodes)


def pad_unpooled(graph: onnx.GraphProto, types: Types) -> int:
    """A MaxUnpool with an output_shape becomes one without, and margins; returns how many."""
    constants = {t.name: t for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        shape = types.get(node.input[0], (0, None))[1] if node.input else None
        wanted = constants.get(node.input[2]) if node.op_type == "MaxUnpool" and len(node.input) > 2 else None
        if node.domain or wanted is None or shape is None:
            nodes.append(node)
            continue
        attributes = {a.name: list(a.ints) for a in node.attribute}
        kernel = attributes["kernel_shape"]
        axes = len(kernel)
        strides, pads = attributes.get("strides", [1] * axes), attributes.get("pads", [0] * 2 * axes)
        made = [*shape[:2]]
        for n, size in enumerate(shape[2:]):
            made.append((size - 1) * strides[n] + kernel[n] - pads[n] - pads[axes + n])
        margins = numpy_helper.to_array(wanted) - np.asarray(made)
        result, widths = node.output[0], f"{node.output[0]}/margins"
        graph.initializer.append(numpy_helper.from_array(np.concatenate([0 * margins, margins]), widths))
        del node.input[2:]
        node.output[0] = f"{result}/unpooled"
        nodes += [node, onnx.helper.make_node("Pad", [node.output[0], widths], [result], name=widths)]
    changed = len(nodes) - len(graph.node)
    if changed:
        replace_nodes(graph, nodes)
    return changed
