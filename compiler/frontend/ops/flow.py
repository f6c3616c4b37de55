"""Nodes with bodies, as `flow.py` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import onnx

from ..flow import Facts

Type = tuple[str, tuple[int, ...]]


def flow_call(node: onnx.NodeProto, inputs: list[Any], bodies: Sequence[int], types: Sequence[Type]) -> Any:
    """A call of `edgec.branch` or `edgec.repeat`, see operators/flow.py.

    Args:
        bodies: where the bodies are in the list of all.
        types: of the results.
    """
    from ...operators.flow import branch, repeat

    if node.op_type == "Branch":
        return branch(inputs, bodies, types)
    return repeat(inputs, bodies[0], types, asdict(Facts.of(node)))
