"""Small models that fail as a large one does, and how they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.verify.reference import run_reference
from scripts.onnx_cases.cases import Case, inputs_of

from .builder import FLOATS

Array = np.ndarray[Any, Any]

_RTOL, _ATOL = 1e-3, 1e-3


def reduce(case: Case, fails: Callable[[Case], bool]) -> Case:
    """The case with as few nodes and outputs as it takes to fail.

    Args:
        fails: whether a smaller case still does; asked about as often as there are nodes.
    """
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in _smaller(case):
            if fails(smaller):
                case, shrunk = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Fewer outputs first, then one node less, whose results are given instead."""
    outputs = list(case.model.graph.output)
    if len(outputs) > 1:
        for place in range(len(outputs)):
            yield _with(case, list(case.model.graph.node), [place], {})
    values = _values(case)
    for node in case.model.graph.node:
        rest = [other for other in case.model.graph.node if other is not node]
        kept = [i for i, value in enumerate(outputs) if value.name not in node.output]
        if rest and kept and all(name in values for name in node.output if name):
            yield _with(case, rest, kept, {name: values[name] for name in node.output if name})


def _values(case: Case) -> dict[str, Array]:
    """What the nodes compute."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    del model.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    given = dict(zip((value.name for value in inputs_of(model.graph)), case.inputs, strict=True))
    return run_reference(model, given)[1]


def _with(case: Case, nodes: Sequence[onnx.NodeProto], outputs: Sequence[int], more: dict[str, Array]) -> Case:
    """The case with these nodes and outputs; `more` become inputs."""
    old = case.model.graph
    wanted = {old.output[i].name for i in outputs}
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.insert(0, node)
            wanted |= _read(node)
    given = {value.name: (value, array) for value, array in zip(inputs_of(old), case.inputs, strict=True)}
    for name, array in more.items():
        elem_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        given[name] = (helper.make_tensor_value_info(name, elem_type, array.shape), array)
    given = {name: pair for name, pair in given.items() if name in wanted}
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for field in ("node", "input", "output", "initializer"):
        model.graph.ClearField(field)
    model.graph.node.extend(kept)
    model.graph.input.extend(value for value, _ in given.values())
    model.graph.output.extend(old.output[i] for i in outputs)
    model.graph.initializer.extend(tensor for tensor in old.initializer if tensor.name in wanted)
    atol = tuple(case.atol[i] for i in outputs) if isinstance(case.atol, tuple) else case.atol
    return replace(
        case, model=model, static=model, inputs=tuple(array for _, array in given.values()),
        outputs=tuple(case.outputs[i] for i in outputs), atol=atol, left=tuple(range(len(given))),
    )  # fmt: skip


def _read(node: onnx.NodeProto) -> set[str]:
    inner = (part for attribute in node.attribute if attribute.HasField("g") for part in attribute.g.node)
    return {name for name in node.input if name}.union(*map(_read, inner))


def save(case: Case, path: Path) -> None:
    """Writes a case as text: a model whose inputs have their values as defaults."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    values = zip(inputs_of(case.model.graph), case.inputs, strict=True)
    model.graph.initializer.extend(numpy_helper.from_array(array, value.name) for value, array in values)
    onnx.save(model, path, format="textproto")


def load(path: Path) -> Case:
    """The case that `save` wrote, with what the reference computes."""
    model = onnx.load(path, format="textproto")
    names = [value.name for value in model.graph.input]
    defaults = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in names}
    constants = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(constants)
    outputs = tuple(run_reference(model, defaults)[1].values())
    largest = [
        np.abs(array.astype(np.float64)).max(initial=0.0) if array.dtype.name in FLOATS else 0.0 for array in outputs
    ]
    inputs = tuple(defaults[name] for name in names)
    atol = tuple(_ATOL * float(value) for value in largest)
    return Case(path.stem, "fuzz", model, inputs, outputs, _RTOL, atol, model, tuple(range(len(names))))
