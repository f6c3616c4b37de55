"""What a case is: an estimator that is trained, exported to ONNX, and given inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scale:
    """How large estimators are.

    Attributes:
        trees: of a forest; boosting has as many rounds.
        rows: the most that an input has.
        many: rows of the cases that are about many rows.
    """

    trees: int
    rows: int
    many: int


FULL = Scale(trees=100, rows=400, many=100_000)
SMALL = Scale(trees=5, rows=60, many=3_000)


@dataclass(frozen=True)
class Sample:
    """A model with inputs by name; texts are arrays of `numpy.str_`.

    Attributes:
        expected: what the standard says of the outputs, where onnxruntime computes something else.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array] | None = None

    @property
    def operators(self) -> list[str]:
        """Those of the model's nodes, below branches too, without the standard domain's name."""
        return sorted({_operator(node) for node in _nodes(self.model.graph)})


@dataclass(frozen=True)
class Case:
    """An estimator of the catalogue.

    Attributes:
        name: unique.
        library: that trained it, or `by hand`.
        make: trains and exports it; the same scale gives the same sample.
        any_rows: its outputs have rows along their first axis, so that it takes any number of them.
    """

    name: str
    library: str
    make: Callable[[Scale], Sample]
    any_rows: bool = True


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _nodes(attribute.g)
    return found


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain.removeprefix('ai.onnx.')}.{node.op_type}"
