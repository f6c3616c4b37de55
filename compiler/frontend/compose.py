"""Operators, or forms of them, for which graphs of others stand that the standard does not give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from .composer import Composer
from .distances import scanned_distances
from .einsum import einsum
from .graph import replace_nodes
from .grid_sample import grid_sample
from .shapes import value_table
from .tf_idf import tf_idf
from .training import adagrad, adam, batch_normalization, momentum

# The names of the node's results, in order; None leaves the node as it is.
Rule = Callable[[Composer], Sequence[str] | None]


_PREVIEW = "ai.onnx.preview.training"
_RULES: dict[tuple[str, str], Rule] = {
    ("", "BatchNormalization"): batch_normalization,
    ("", "Einsum"): einsum,
    ("", "TfIdfVectorizer"): tf_idf,
    (_PREVIEW, "Adagrad"): adagrad,
    (_PREVIEW, "Adam"): adam,
    (_PREVIEW, "Momentum"): momentum,
}
_OF_PROGRAMS: dict[tuple[str, str], Rule] = {("", "GridSample"): grid_sample, ("", "Scan"): scanned_distances}


def compose_operators(model: onnx.ModelProto, programs: bool = True) -> bool:
    """Replaces the nodes that a rule covers, in a model of operator set 13 or newer; returns whether there are any.

    Args:
        programs: whether by nodes of programs of our own, too.
    """
    rules = _RULES | _OF_PROGRAMS if programs else _RULES
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    types = value_table(graph)
    changed = False
    for node in graph.node:
        rule = rules.get((node.domain, node.op_type))
        composer = Composer(model, node, types) if rule else None
        results = rule(composer) if rule and composer else None
        if composer is None or results is None:
            nodes.append(node)
            continue
        changed = True
        nodes += composer.nodes
        graph.initializer.extend(composer.constants)
        nodes += [
            onnx.helper.make_node("Identity", [result], [name])
            for result, name in zip(results, node.output, strict=False)
            if name
        ]
    if changed:
        replace_nodes(graph, nodes)
    return changed
