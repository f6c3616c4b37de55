"""Inlines a model's own functions, after making sure that this ends."""

from __future__ import annotations

import onnx
import onnx.inliner

from ..errors import UserError
from .graph import DEFAULT_DOMAINS, all_nodes
from .messages import blame_model

# Functions that call functions can multiply; real models stay far below.
MAX_NODES = 200_000

_Key = tuple[str, str, str]


def check_functions(model: onnx.ModelProto, where: str) -> None:
    """Raises UserError for functions that are defined twice, call themselves, or expand beyond any use."""
    functions: dict[_Key, onnx.FunctionProto] = {}
    for function in model.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in functions:
            raise UserError(f"the model defines function {function.name!r} twice", where, "export the model again")
        functions[key] = function
    sizes: dict[_Key, int] = {}
    for key in functions:
        _measure(key, functions, sizes, where)
    total = sum(sizes.get(_key(node), 1) for node in all_nodes(model.graph.node))
    if total > MAX_NODES:
        raise UserError(f"the model's functions expand to {total} nodes", where, "export the model without functions")


def _measure(start: _Key, functions: dict[_Key, onnx.FunctionProto], sizes: dict[_Key, int], where: str) -> None:
    """Writes the number of nodes that a function expands to into `sizes`; chains may be long."""
    path: list[_Key] = [start]
    while path:
        key = path[-1]
        calls = [k for k in map(_key, all_nodes(functions[key].node)) if k in functions]
        waiting = [k for k in calls if k not in sizes]
        if not waiting:
            sizes[key] = sum(sizes.get(_key(node), 1) for node in all_nodes(functions[key].node))
            path.pop()
        elif waiting[0] in path:
            cycle = " -> ".join(k[1] for k in [*path[path.index(waiting[0]) :], waiting[0]][:6])
            raise UserError(f"the model's functions call themselves: {cycle}", where, "ONNX allows no recursion")
        else:
            path.append(waiting[0])


def _key(node: onnx.NodeProto) -> _Key:
    return (_domain(node.domain), node.op_type, node.overload)


def _domain(domain: str) -> str:
    return "" if domain in DEFAULT_DOMAINS else domain


def inline_functions(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model without functions of its own.

    Raises:
        UserError: a function is written for another operator set and cannot be converted.
    """
    if not model.functions:
        return model
    with blame_model("the model's functions cannot be inlined", where, "export the model without functions"):
        return onnx.inliner.inline_local_functions(model, convert_version=True)
