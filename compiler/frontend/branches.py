"""Replaces every If whose condition is a constant by the branch that it takes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from .graph import graph_values, replace_nodes, subgraphs


def take_constant_branches(graph: onnx.GraphProto) -> int:
    """Inlines the branches that constant conditions choose; returns how many. Nested ones need another."""
    constants = {t.name: t for t in graph.initializer}
    used = all_names(graph)
    kept: list[onnx.NodeProto] = []
    taken = 0
    for node in graph.node:
        decidable = node.op_type == "If" and not node.domain and node.input
        condition = constants.get(node.input[0]) if decidable else None
        if condition is None:
            kept.append(node)
            continue
        taken += 1
        chosen = "then_branch" if numpy_helper.to_array(condition).reshape(-1)[0] else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == chosen)
        kept += inlined(graph, branch, list(node.output), used)
    if taken:
        replace_nodes(graph, kept)
    return taken


def inlined(
    graph: onnx.GraphProto,
    branch: onnx.GraphProto,
    outputs: list[str],
    used: set[str],
    given: Mapping[str, str] | None = None,
) -> list[onnx.NodeProto]:
    """The nodes of a graph inside under fresh names; its initializers move into `graph`.

    Args:
        outputs: what its results are called outside.
        used: all names that are taken; the fresh ones join them.
        given: what its inputs are called outside.
    """
    given = given or {}
    inner = onnx.GraphProto.FromString(branch.SerializeToString())
    local = graph_values(inner) | {name for node in inner.node for name in node.output if name}
    fresh = {name: _fresh(name, used) for name in sorted(local - given.keys())} | dict(given)
    for tensor in inner.initializer:
        tensor.name = fresh[tensor.name]
        graph.initializer.append(tensor)
    for node in inner.node:
        rename_values(node, fresh)
        node.output[:] = [fresh.get(name, name) for name in node.output]
    ends = [
        onnx.helper.make_node("Identity", [fresh.get(value.name, value.name)], [name])
        for value, name in zip(inner.output, outputs, strict=False)
        if name
    ]
    return [*inner.node, *ends]


def rename_values(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    """Renames what a node reads, in its subgraphs too; names that a subgraph defines itself stay."""
    node.input[:] = [renamed.get(name, name) for name in node.input]
    for graph in subgraphs(node):
        local = graph_values(graph) | {name for inner in graph.node for name in inner.output}
        visible = {name: new for name, new in renamed.items() if name not in local}
        for inner in graph.node:
            rename_values(inner, visible)
        for value in graph.output:
            value.name = visible.get(value.name, value.name)


def _fresh(name: str, used: set[str]) -> str:
    """`name`, or `name/2`, …: values of both branches may share names."""
    number, new = 1, name
    while new in used:
        number += 1
        new = f"{name}/{number}"
    used.add(new)
    return new


def all_names(graph: onnx.GraphProto) -> set[str]:
    """Of all values in a graph, and in those inside."""
    names = graph_values(graph)
    for node in graph.node:
        names.update(node.output)
        for inner in subgraphs(node):
            names |= all_names(inner)
    return names
