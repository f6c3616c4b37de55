"""What a function body is written with: one node, what is known of its inputs, and ONNX's text syntax."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ..domains import PROGRAMS
from ..shapes import Types

FLOAT, FLOAT16, INT32, INT64, BOOL = 1, 10, 6, 7, 9  # onnx.TensorProto's numbers


class Refused(Exception):
    """The node cannot be expanded; the text says why."""


class NotYet(Exception):
    """The node stays as it is, in this round at least: the type or shape of an input is not inferred yet."""


@dataclass
class Call:
    """The node that a body is written for.

    Attributes:
        formals: names of its inputs in the body, in order.
        opset: version of the default domain, in which the body is written.
        version: of the node's own domain.
        types: of the graph's values.
        constants: the graph's initializers by name.
        lines, tensors: the body so far: its nodes as text, and the constants that are no text.
        read: names of the attributes that were asked for.
    """

    node: onnx.NodeProto
    formals: list[str]
    opset: int
    version: int
    types: Types
    constants: Mapping[str, onnx.TensorProto]
    lines: list[str] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def has(self, formal: str) -> bool:
        return bool(self._actual(formal))

    def elem(self, formal: str) -> int:
        """ONNX's number of the input's element type."""
        elem_type = self.types.get(self._actual(formal), (0, None))[0]
        if not elem_type:
            raise NotYet
        return elem_type

    def shape(self, formal: str) -> tuple[int, ...]:
        shape = self.types.get(self._actual(formal), (0, None))[1]
        if shape is None:
            raise NotYet
        return shape

    def value(self, formal: str) -> np.ndarray[Any, Any]:
        """The value of an input that has to be a constant."""
        tensor = self.constants.get(self._actual(formal))
        if tensor is None:
            raise Refused(f"its input {formal!r} is not a constant")
        return onnx.numpy_helper.to_array(tensor)

    def attribute(self, name: str, default: Any) -> Any:
        self.read.add(name)
        for given in self.node.attribute:
            if given.name == name:
                value = onnx.helper.get_attribute_value(given)
                return value.decode(errors="replace") if isinstance(value, bytes) else value
        return default

    def only(self, **values: Any) -> None:
        """Refuses attributes that have another value than the one given here."""
        for name, value in values.items():
            if self.attribute(name, value) != value:
                raise Refused(f"its attribute {name} is supported as {value!r} only")

    def wants(self, index: int) -> bool:
        """Whether the node's result of this number is used."""
        return len(self.node.output) > index and bool(self.node.output[index])

    def pass_on(self, *names: str) -> str:
        """The node's own attributes of these names, as text for another node: `<group = 1, pads = [1, 1]>`."""
        texts = []
        for name in names:
            value = self.attribute(name, None)
            if value is not None:
                texts.append(f"{name} = {_literal(value)}")
        return f"<{', '.join(texts)}>" if texts else ""

    def ints(self, *values: int) -> str:
        """A 1-D constant of int64."""
        return self._line("i", f"Constant <value_ints = {_literal(list(values))}> ()")

    def number(self, value: float, elem_type: int = FLOAT) -> str:
        """A scalar constant."""
        if elem_type == INT64:
            return self._line("c", f"Constant <value_int = {int(value)}> ()")
        name = self._line("c", f"Constant <value_float = {_literal(float(np.float32(value)))}> ()")
        return name if elem_type == FLOAT else self.cast(name, elem_type)

    def tensor(self, array: np.ndarray[Any, Any]) -> str:
        """A constant of the array's type and shape; tables of any size."""
        name = f"k{len(self.tensors)}_"
        self.tensors.append(onnx.numpy_helper.from_array(array, name))
        return name

    def labels(self) -> np.ndarray[Any, Any]:
        """The class labels of a classifier, int64 [classes]; those that are strings are codes by now."""
        names = ("classlabels_ints", "classlabels_int64s")
        return np.asarray(next(filter(None, (self.attribute(name, None) for name in names)), ()), np.int64)

    def cast(self, name: str, elem_type: int) -> str:
        return self._line("c", f"Cast <to = {elem_type}> ({name})")

    def op(self, operator: str, *inputs: str) -> str:
        """A node with one result, `op("Softmax <axis = 1>", x)`; returns its name."""
        return self._line("t", f"{operator} ({', '.join(inputs)})")

    def ops(self, results: int, operator: str, *inputs: str) -> list[str]:
        """A node with several results."""
        names = [f"s{len(self.lines)}_{i}" for i in range(results)]
        self.lines.append(f"{', '.join(names)} = {operator} ({', '.join(inputs)})")
        return names

    def own(self, domain: str, operator: str, inputs: Sequence[str], attributes: Mapping[str, Any]) -> str:
        """A node with one result of a domain of ours."""
        text = ", ".join(f"{name} = {_literal(value)}" for name, value in attributes.items())
        return self.op(f"{domain}.{operator} <{text}>", *inputs)

    def let(self, name: str, operator: str, *inputs: str) -> None:
        """A node whose result has the given name, one of the body's results."""
        self.lines.append(f"{name} = {operator} ({', '.join(inputs)})")

    def mean(self, x: str, axes: list[int], keep: int = 1) -> str:
        return self.reduce("ReduceMean", x, axes, keep)

    def rows(self, elem_type: int = FLOAT) -> str:
        """The input X, [rows, features] or one row, as [rows, features] of an element type.

        Raises:
            Refused: it has another number of dimensions.
        """
        rank = len(self.shape("X"))
        if rank not in (1, 2):
            raise Refused(f"its input has {rank} dimensions, not 2")
        x = "X" if self.elem("X") == elem_type else self.cast("X", elem_type)
        return x if rank == 2 else self.op("Unsqueeze", x, self.ints(0))

    def count_rows(self) -> int:
        """Of the input X."""
        shape = self.shape("X")
        return shape[0] if len(shape) == 2 else 1

    def reduce(self, operator: str, x: str, axes: list[int], keep: int = 1) -> str:
        """ReduceMean, ReduceMax or another over axes, which were an attribute up to operator set 17."""
        if self.opset >= 18:
            return self.op(f"{operator} <keepdims = {keep}>", x, self.ints(*axes))
        return self.op(f"{operator} <keepdims = {keep}, axes = {_literal(axes)}>", x)

    def _line(self, kind: str, text: str) -> str:
        name = f"{kind}{len(self.lines)}_"
        self.lines.append(f"{name} = {text}")
        return name

    def _actual(self, formal: str) -> str:
        place = self.formals.index(formal)
        return str(self.node.input[place]) if place < len(self.node.input) else ""


@dataclass(frozen=True)
class Body:
    """How the body of an operator is written.

    Attributes:
        inputs: names in the body, by place; `?` marks one that may be left out, `...` that the last three, or all
            if they are fewer, repeat.
        outputs: names of results that `write` gives a value to, those that it may leave out with `?`.
        write: adds the lines to the call.
        covers: whether this body shall be used at an operator set.
    """

    inputs: str
    outputs: str
    write: Callable[[Call], None]
    covers: Callable[[int], bool] = lambda opset: True

    def formals(self, node: onnx.NodeProto) -> list[str]:
        names = [name.rstrip("?") for name in self.inputs.split()]
        if names[-1] == "...":
            names.pop()
            more = [f"{name}{i}" for i in range(1, len(node.input)) for name in names[-3:]]
            names += more[: len(node.input) - len(names)]
        return names

    def function(
        self,
        node: onnx.NodeProto,
        opset: int,
        version: int,
        types: Types,
        constants: Mapping[str, onnx.TensorProto],
        name: str,
    ) -> onnx.FunctionProto:
        """The body for one node, as a function called `name`; see Call.

        Raises:
            Refused: the node has what this body does not cover.
            NotYet: it needs types that are not known yet.
        """
        formals = self.formals(node)
        call = Call(node, formals, opset, version, types, constants)
        needed = [f.rstrip("?") for f in self.inputs.split() if not f.endswith(("?", "..."))]
        if any(node.input[len(formals) :]):
            raise Refused(f"it has more than {len(formals)} inputs")
        missing = [f for f in needed if not call.has(f)]
        if missing:
            raise Refused(f"its input {missing[0]!r} is missing")
        self.write(call)
        unread = sorted({a.name for a in node.attribute} - call.read)
        if unread:
            raise Refused(f"its attributes {', '.join(unread)} are not supported")
        outputs = [o.rstrip("?") for o in self.outputs.split()][: len(node.output)]
        made = {name for text in call.lines for name in text.split(" = ")[0].split(", ")}
        for number, used in enumerate(node.output):
            if used and (number >= len(outputs) or outputs[number] not in made):
                raise Refused(f"its result number {number + 1} is not supported")
        for output in outputs:
            if output not in made:  # nobody reads it
                call.let(output, "Identity", outputs[0])
        head = f'<opset_import: ["" : {opset}, "{PROGRAMS}" : 1], domain: "unnamed">'
        lines = "\n".join(call.lines)
        text = f"{head} {name} ({', '.join(formals[: len(node.input)])}) => ({', '.join(outputs)}) {{\n{lines}\n}}"
        function = onnx.parser.parse_function(text)
        nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in call.tensors]
        nodes += function.node
        del function.node[:]
        function.node.extend(nodes)
        return function


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, float):
        return np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return str(value)
