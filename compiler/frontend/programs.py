"""Nodes of operators that have tensor programs of our own (operators/); each says the types that it makes.

A node has the attributes `elem_types`, ONNX's numbers, and `shape0`, `shape1`, …, one for each result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto

from .graph import attributes_of

Type = tuple[int, Sequence[int]]


def type_attributes(*types: Type) -> dict[str, Any]:
    """The attributes that say them: of each result, ONNX's number of the element type and the shape."""
    shapes = {f"shape{i}": list(shape) for i, (_, shape) in enumerate(types)}
    return {"elem_types": [elem_type for elem_type, _ in types], **shapes}


def output_types(node: NodeProto) -> list[tuple[int, tuple[int, ...]]]:
    """Of each result of a node."""
    given = attributes_of(node)
    return [(elem_type, tuple(given[f"shape{i}"])) for i, elem_type in enumerate(given["elem_types"])]
