"""From a file or ModelProto to a static, canonical ONNX graph, and on to Relax."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from ..errors import UserError
from .check import check_model, describe, opset_of
from .convert import dtype_name, to_relax
from .read import load_tensors, read_model
from .shapes import check_sizes, fix_shapes, infer_shapes, value_table
from .simplify import constants_to_initializers, simplify
from .support import DEFAULT_DOMAINS, Obstacle, expand_functions, find_obstacles, has_body
from .upgrade import upgrade_opset

if TYPE_CHECKING:
    import tvm

_ROUNDS = 16  # each round of inference and folding uncovers constants for the next; graphs settle in two or three


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name in the model, TVM's name of its type, and its fixed shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A model as it was read.

    Attributes:
        name: for people; the file's stem, or the graph's name.
        proto: the model as given, checked, with its external data loaded.
        sha256: of the file, or of the serialised proto.
    """

    name: str
    proto: onnx.ModelProto
    sha256: str


@dataclass(frozen=True)
class PreparedModel:
    """A static, canonical model.

    Attributes:
        proto: the ONNX graph with constants folded, functions expanded and every shape known.
        obstacles: nodes that stop the compilation.
        module: Relax, its parameters `in0`, `in1`, … in the inputs' order; None or incomplete if there are obstacles.
    """

    proto: onnx.ModelProto
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    obstacles: tuple[Obstacle, ...]
    module: tvm.IRModule | None


def load_model(source: str | os.PathLike[str] | onnx.ModelProto) -> Model:
    """Reads and checks a model.

    Raises:
        UserError: see `read_model` and `check_model`.
    """
    if isinstance(source, onnx.ModelProto):
        proto = onnx.ModelProto()
        proto.CopyFrom(source)
        name = proto.graph.name or "model"
        load_tensors(proto, None, name)
        digest = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
        where = name
    else:
        path = Path(source)
        proto = read_model(path)
        name, where = path.stem, str(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    check_model(proto, where)
    return Model(name, proto, digest)


def prepare(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> PreparedModel:
    """Fixes the shapes, then infers, folds and expands until nothing changes, and converts.

    An operator whose converter refuses a node is expanded to its function body where the standard has one.

    Raises:
        UserError: a dynamic dimension without a `--shape`, or contradictory shapes.
    """
    forced: frozenset[str] = frozenset()
    while True:
        proto = _canonical(model, shapes or {}, forced)
        obstacles = find_obstacles(proto.graph) or _dynamic_values(proto.graph)
        module = None
        if not obstacles:
            renamed = onnx.ModelProto()
            renamed.CopyFrom(proto)
            _rename(renamed.graph)
            module, obstacles = to_relax(renamed)
        opset = opset_of(proto)
        refused = {n.op_type for n in proto.graph.node if has_body(n, opset)} & {o.operator for o in obstacles}
        if not refused - forced:
            break
        forced |= refused
    table = value_table(proto.graph)
    inputs, outputs = (
        tuple(Tensor(v.name, dtype_name(table[v.name][0]), table[v.name][1] or ()) for v in values)
        for values in (proto.graph.input, proto.graph.output)
    )
    return PreparedModel(proto, inputs, outputs, tuple(obstacles), module)


def _canonical(model: Model, shapes: Mapping[str, Sequence[int]], forced: frozenset[str]) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    # Before IR 4 every initializer had to be an input too; they are inputs no longer after the next line.
    proto.ir_version = max(proto.ir_version, 8)
    where = model.name
    constants_to_initializers(proto.graph)
    _refuse_sparse(proto.graph, where)
    fix_shapes(proto, shapes, where)
    proto = upgrade_opset(proto, where)
    for _ in range(_ROUNDS):
        if all(node.domain in DEFAULT_DOMAINS and onnx.defs.has(node.op_type) for node in proto.graph.node):
            proto = infer_shapes(proto, where)
        check_sizes(proto.graph, where)
        removed = simplify(proto)
        nodes = len(proto.graph.node)
        proto = expand_functions(proto, forced)
        constants_to_initializers(proto.graph)
        if not removed and len(proto.graph.node) == nodes:
            break
    return proto


def refuse(obstacles: Sequence[Obstacle], where: str) -> None:
    """Raises one UserError that lists every obstacle by node, if there is any."""
    if not obstacles:
        return
    kinds = Counter(o.operator for o in obstacles)
    lines = [f"  {o.node}: {o.reason}" for o in obstacles[:50]]
    if len(obstacles) > 50:
        lines.append(f"  … and {len(obstacles) - 50} more")
    summary = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in sorted(kinds.items()))
    raise UserError(
        f"{len(obstacles)} nodes cannot be compiled ({summary}):\n" + "\n".join(lines),
        where,
        "export without these operators, or cut the graph before them (onnx.utils.extract_model)",
    )


def _dynamic_values(graph: onnx.GraphProto) -> list[Obstacle]:
    types = value_table(graph)
    found = []
    for node in graph.node:
        unknown = [name for name in node.output if name and types.get(name, (0, None))[1] is None]
        if unknown:
            label = f"{node.op_type} {node.name or unknown[0]!r}"
            found.append(Obstacle(label, node.op_type, f"the shape of {unknown[0]!r} depends on the data"))
    return found


def _refuse_sparse(graph: onnx.GraphProto, where: str) -> None:
    if graph.sparse_initializer:
        names = ", ".join(repr(t.values.name) for t in graph.sparse_initializer)
        raise UserError(f"sparse initializers are not supported: {names}", where, "export the weights as dense tensors")


def _rename(graph: onnx.GraphProto) -> None:
    """Names that are safe as TVM identifiers and unique: inputs `in0`, …, values `v0`, …, nodes `n0:op`."""
    names: dict[str, str] = {"": ""}
    for index, value in enumerate(graph.input):
        names[value.name] = f"in{index}"
    for tensor in graph.initializer:
        names.setdefault(tensor.name, f"v{len(names)}")
    for node in graph.node:
        for name in node.output:
            names.setdefault(name, f"v{len(names)}")
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.name = describe(node).split(" ", 1)[1].strip("'\"") if not node.name else node.name
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    counts = Counter(node.name for node in graph.node)
    for index, node in enumerate(graph.node):
        if counts[node.name] > 1:
            node.name = f"{node.name}#{index}"
