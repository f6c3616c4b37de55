"""From a file or ModelProto to a static, canonical ONNX graph, and on to Relax."""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from ..errors import UserError
from .bodies import expand_bodies
from .check import VALUE_TYPES, check_model, opset_of
from .compose import compose_operators
from .convert import dtype_name, to_relax
from .counted import lower_counted
from .dead_channels import Dropped, drop_dead_channels
from .domains import FLOW
from .few_bits import find_few_bits
from .float_products import FloatProduct, float_products, float_weights, has_few_bits
from .flow import body_graphs, lower_control_flow
from .fold import constants_to_initializers
from .forms import make_canonical
from .functions import inline_functions
from .graph import all_nodes, describe, sort_nodes
from .infer import infer_shapes
from .integer_edges import move_edges
from .integer_form import use_integers
from .lengths import lengths_of
from .maps import maps_to_tensors
from .quantised import is_quantised
from .read import copy_model, parse_model, read_file
from .sequences import eliminate_sequences, split_outputs
from .shapes import fix_shapes, value_table
from .simplify import simplify
from .strings import Strings, encode_strings, has_strings
from .support import Obstacle, expand_operators, find_obstacles, has_body, operator_name, opsets_of, state_defaults
from .tensors import iter_tensors, load_tensors
from .upgrade import OPSET, upgrade_opset
from .upgrade_old import upgrade_old_opset
from .wide import widen_formulas

if TYPE_CHECKING:
    import tvm

_ROUNDS = 16  # each round of inference and folding uncovers constants for the next; graphs settle in two or three


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name in the model, TVM's name of its type, and its fixed shape.

    Attributes:
        sizes: axes along which only the first entries are meant, and the outputs, beside the model's own, that say how
            many.
        strings: whether the elements are codes of strings, see `strings.py`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sizes: tuple[tuple[int, str], ...] = ()
    strings: bool = False


@dataclass(frozen=True)
class Model:
    """A model as it was read.

    Attributes:
        name: for people; the file's stem, or the graph's name.
        proto: the model as given, checked, with its external data loaded, and tensors in the place of maps and
            of outputs that are sequences.
        sha256: of the file and its external data, or of the serialised proto.
        path: the file, if it came from one, and `proto` is what is in it.
    """

    name: str
    proto: onnx.ModelProto
    sha256: str
    path: Path | None = None


@dataclass(frozen=True)
class PreparedModel:
    """A static, canonical model.

    Attributes:
        proto: the ONNX graph with constants folded, functions expanded and every shape known.
        obstacles: nodes that stop the compilation.
        module: Relax, its parameters `in0`, `in1`, … in the inputs' order; None or incomplete if there are
            obstacles.
        bodies: Relax of the bodies of If and Loop, which `edgec.branch` and `edgec.loop` name by their place here.
        vocabulary: the strings of the model, in the order of their codes.
        dropped: layers that lost output channels on which no result depends.
        float_products: of a quantised model, those that are not computed with integers; of one with weights of few
            bits, those with weights of floats.
    """

    proto: onnx.ModelProto
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    obstacles: tuple[Obstacle, ...]
    module: tvm.IRModule | None
    bodies: tuple[tvm.IRModule, ...] = ()
    vocabulary: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    float_products: tuple[FloatProduct, ...] = ()


def load_model(source: str | os.PathLike[str] | onnx.ModelProto) -> Model:
    """Reads and checks a model.

    Raises:
        UserError: see `read_file`, `parse_model`, `load_tensors` and `check_model`.
    """
    if isinstance(source, onnx.ModelProto):
        name = where = source.graph.name or "model"
        proto, path, folder = copy_model(source, where), None, None
    else:
        path = Path(source)
        data, name, where = read_file(path), path.stem, str(path)
        proto, folder = parse_model(data, where), path.resolve().parent
        digest = hashlib.sha256(data)
        del data
    external = [t for t in iter_tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    load_tensors(proto, folder, where)
    if folder is None:
        digest = hashlib.sha256(proto.SerializeToString(deterministic=True))
    for tensor in external:
        digest.update(tensor.raw_data)
    if any([maps_to_tensors(proto), split_outputs(proto)]):
        path = None
    check_model(proto, where)
    return Model(name, proto, digest.hexdigest(), path)


def prepare(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> PreparedModel:
    """Fixes the shapes, then infers, folds and expands until nothing changes, and converts.

    An operator whose converter refuses a node is expanded to its function body where the standard has one.

    Raises:
        UserError: a dynamic dimension without a `--shape`, or contradictory shapes.
    """
    source, strings = _without_strings(model)
    if strings.obstacles:
        return PreparedModel(source, (), (), strings.obstacles, None)
    forced: frozenset[str] = frozenset()
    while True:
        proto, reasons = _canonical(source, shapes or {}, forced, model.name)
        proto, dropped = drop_dead_channels(proto, model.name)
        sizes, lost = _return_lengths(proto.graph)
        obstacles = find_obstacles(proto.graph, reasons) or _unusable_values(proto.graph) or lost
        module, bodies = None, ()
        if not obstacles:
            module, bodies, obstacles = to_relax(proto)
        opsets = opsets_of(proto)
        nodes = all_nodes(proto.graph.node)
        refused = {n.op_type for n in nodes if has_body(n, opsets)} & {o.operator for o in obstacles}
        if not refused - forced:
            break
        forced |= refused
    table = value_table(proto.graph)

    def tensor(name: str) -> Tensor:
        elem_type, shape = table[name]
        return Tensor(name, _dtype(elem_type), shape or (), sizes.get(name, ()), name in strings.values)

    inputs, outputs = (tuple(tensor(v.name) for v in values) for values in (proto.graph.input, proto.graph.output))
    floats: tuple[FloatProduct, ...] = ()
    if is_quantised(source):
        floats = float_products(proto.graph)
    elif has_few_bits(source):
        floats = float_weights(proto.graph)
    return PreparedModel(proto, inputs, outputs, tuple(obstacles), module, bodies, strings.vocabulary, dropped, floats)


def _without_strings(model: Model) -> tuple[onnx.ModelProto, Strings]:
    """The model with codes in the place of its strings."""
    if not has_strings(model.proto):
        return model.proto, Strings()
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto = inline_functions(proto, model.name)
    sort_nodes(proto.graph, model.name)
    return proto, encode_strings(proto, model.name)


def _return_lengths(graph: onnx.GraphProto) -> tuple[dict[str, tuple[tuple[int, str], ...]], list[Obstacle]]:
    """Lets the graph return the lengths of its outputs; where they are lost on the way is an obstacle."""
    found = lengths_of(graph, value_table(graph))
    sizes: dict[str, tuple[tuple[int, str], ...]] = {}
    for value in list(graph.output):
        for axis, length in sorted(found.lengths.get(value.name, {}).items()):
            name = f"{value.name}/size{axis}"
            graph.node.append(onnx.helper.make_node("Identity", [length], [name]))
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, []))
            sizes[value.name] = (*sizes.get(value.name, ()), (axis, name))
    nodes = (node for node in graph.node if node.output[0] in found.problems)
    return sizes, [Obstacle(describe(n), operator_name(n), found.problems[n.output[0]]) for n in nodes]


def _dtype(elem_type: int) -> str:
    return dtype_name(elem_type) if elem_type in VALUE_TYPES else "unknown"


def upgraded(source: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], where: str) -> onnx.ModelProto:
    """The model without functions of its own, its shapes fixed, of operator set 13 or newer.

    Raises:
        UserError: as `prepare`.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    # Before IR 4 every initializer had to be an input too; in here none is.
    proto.ir_version = max(proto.ir_version, 8)
    proto = inline_functions(proto, where)
    if not any(entry.domain == "" for entry in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("", opset_of(proto)))
    sort_nodes(proto.graph, where)
    _merge_outputs(proto.graph)
    constants_to_initializers(proto.graph)
    fix_shapes(proto, shapes, where)
    state_defaults(proto)
    if opset_of(proto) < OPSET:
        for upgrade in (upgrade_old_opset, upgrade_opset):
            proto = settle(proto, where)
            upgrade(proto, where)
            constants_to_initializers(proto.graph)
    return proto


def _canonical(
    source: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], forced: frozenset[str], where: str
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The settled model, and why nodes with bodies stayed in it, by their first result."""
    proto = upgraded(source, shapes, where)
    refusals: dict[str, str] = {}

    def expand(proto: onnx.ModelProto) -> onnx.ModelProto:
        return expand_operators(expand_bodies(proto, refusals, where), forced, where)

    def settle_all(proto: onnx.ModelProto, where: str) -> tuple[onnx.ModelProto, dict[str, str]]:
        reasons: dict[str, str] = {}
        while True:
            proto = settle(proto, where, expand=expand)
            changed, reasons = lower_control_flow(proto, settle_all, where)
            counted, others = lower_counted(proto)
            if not changed and not counted:
                return proto, refusals | reasons | others

    return settle_all(proto, where)


def settle(
    proto: onnx.ModelProto,
    where: str,
    expand: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None,
    programs: bool = True,
) -> onnx.ModelProto:
    """Infers, simplifies and expands until nothing changes.

    Args:
        programs: whether nodes of programs of our own may stand for others.
    """
    rounds = _ROUNDS
    while rounds:
        rounds -= 1
        make_canonical(proto.graph, opset_of(proto))
        proto = infer_shapes(proto, where)
        changed = expand is not None and any([move_edges(proto), use_integers(proto)])
        changed = (programs and find_few_bits(proto)) or changed
        changed = simplify(proto) or changed
        if expand is not None:
            changed = eliminate_sequences(proto) or changed
            changed = compose_operators(proto, programs) or changed
            changed = widen_formulas(proto) or changed
            before = proto
            proto = expand(proto)
            if proto is not before:  # one layer after another, as their shapes become known
                changed, rounds = True, _ROUNDS
        changed = constants_to_initializers(proto.graph) > 0 or changed
        if not changed:
            break
    return proto


def _merge_outputs(graph: onnx.GraphProto) -> None:
    """The same value twice among the outputs is one output; results go by name."""
    outputs: dict[str, onnx.ValueInfoProto] = {}
    for value in graph.output:
        outputs.setdefault(value.name, value)
    if len(outputs) < len(graph.output):
        kept = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in outputs.values()]
        del graph.output[:]
        graph.output.extend(kept)


def refuse(obstacles: Sequence[Obstacle], where: str) -> None:
    """Raises one UserError that lists every obstacle by node, if there is any."""
    if not obstacles:
        return
    raise UserError(
        f"{len(obstacles)} nodes cannot be compiled:\n" + "\n".join(describe_obstacles(obstacles)),
        where,
        "export without these operators, or cut the graph before them (onnx.utils.extract_model)",
    )


def describe_obstacles(obstacles: Sequence[Obstacle]) -> list[str]:
    """Lines that name every node once, those of one operator and one reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for obstacle in obstacles:
        groups.setdefault((obstacle.operator, obstacle.reason), []).append(obstacle.node)
    lines = []
    for (operator, reason), nodes in groups.items():
        if len(nodes) == 1:
            lines.append(f"  {nodes[0]}: {reason}")
            continue
        lines.append(f"  {operator} x{len(nodes)}: {reason}")
        names = ", ".join(node.removeprefix(operator).strip() for node in nodes)
        lines += textwrap.wrap(names, 110, initial_indent="    ", subsequent_indent="    ")
    return lines


def _unusable_values(graph: onnx.GraphProto) -> list[Obstacle]:
    """Nodes whose results are no tensors of numbers, or of a size that is only known when the model runs."""
    types = value_table(graph)
    found = []
    for node in graph.node:
        for body in body_graphs(node) if node.domain == FLOW else ():
            found += _unusable_values(body)
        for name in filter(None, node.output):
            elem_type, shape = types.get(name, (0, None))
            if elem_type not in VALUE_TYPES:
                held = elem_type and elem_type != onnx.TensorProto.STRING
                kind = onnx.TensorProto.DataType.Name(elem_type).lower() if held else "no tensor of numbers"
                reason = f"its result {name!r} is {kind}" + (", a type that kernels do not hold" if held else "")
            elif shape is None:
                reason = f"the shape of {name!r} depends on the data"
            else:
                continue
            found.append(Obstacle(describe(node), operator_name(node), reason))
            break
    return found
