"""Moves the edges between 8-bit tensors and floats to where they cost least.

Operators that only move elements do so with 8 bits: a DequantizeLinear goes behind them and a QuantizeLinear before,
and where the two meet with the same step both vanish. A ReLU or Clip that QuantizeLinear's own limits imply vanishes
too, and the division by QuantizeLinear's scale is done to constants where there are some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .graph import attributes_of, replace_nodes
from .integer_steps import InSteps
from .quantised import EIGHT_BITS, MOVES, Array, Step, Values
from .shapes import Types, value_table
from .simplify import drop_dead

# Moves that take fewer elements than there are: quantised before, they would be more work.
_TAKES = frozenset(("Gather", "GatherElements", "GatherND", "Slice", "Split"))
_MOST_SWEEPS = 64

# Of a constant in steps, what it is: `scale` of 8 bits, `factor`, `summand` or else; and its value → another value.
Change = Callable[[str, Array], Array]


def move_edges(model: onnx.ModelProto, change: Change | None = None) -> bool:
    """Rewrites the graph until no rule applies; returns whether anything changed.

    Args:
        change: what is to stand for the constants that this makes; None for the constants themselves.
    """
    graph = model.graph
    if not any(node.op_type in ("QuantizeLinear", "DequantizeLinear") and not node.domain for node in graph.node):
        return False
    types = value_table(graph)
    sweeps = 0
    while sweeps < _MOST_SWEEPS and _Sweep(graph, types, change).run():
        drop_dead(graph)
        sweeps += 1
    return sweeps > 0


class _Sweep:
    """One pass over a graph in execution order.

    Attributes:
        made: the nodes so far.
        busy: the values that rules have made in this sweep, whose readers are not known yet.
    """

    def __init__(self, graph: onnx.GraphProto, types: Types, change: Change | None) -> None:
        self.graph, self.values, self._change = graph, Values(graph, types), change
        self.made: list[onnx.NodeProto] = []
        self.busy: set[str] = set()

    def run(self) -> bool:
        changed = False
        for node in self.graph.node:
            rule: Callable[[onnx.NodeProto], bool] | None = None
            if node.domain:
                pass
            elif node.op_type == "QuantizeLinear":
                rule = self._quantize
            elif node.op_type == "Concat":
                rule = self._concat
            elif node.op_type in MOVES:
                rule = self._move
            if rule is not None and rule(node):
                changed = True
            else:
                self.made.append(node)
        if changed:
            replace_nodes(self.graph, self.made)
        return changed

    # A DequantizeLinear goes behind moves.

    def _move(self, node: onnx.NodeProto) -> bool:
        found = self._source(node.input[0])
        if found is None or (any(node.output[1:]) and node.op_type != "Split"):
            return False
        dequantize, step = found
        if not step.single:
            return self._transpose_of_several(node, dequantize, step)
        if step.elem_type not in EIGHT_BITS:
            return False
        inputs = self._moved_inputs(node, dequantize.input[0], step)
        if inputs is None:
            return False
        narrow = [self.name(name, "8bit", step.elem_type, self.values.shape(name)) for name in node.output]
        self.make(node.op_type, inputs, narrow, node.attribute, node.name)
        for name, result in zip(narrow, node.output, strict=True):
            self.make("DequantizeLinear", [name, *dequantize.input[1:]], [result])
        return True

    def _transpose_of_several(self, node: onnx.NodeProto, dequantize: onnx.NodeProto, step: Step) -> bool:
        """Of constants with several steps, which are weights."""
        values = self.values.constant(dequantize.input[0])
        if node.op_type != "Transpose" or values is None:
            return False
        order = list(attributes_of(node).get("perm", range(values.ndim)[::-1]))
        narrow = self.constant(node.output[0], "8bit", np.ascontiguousarray(values.transpose(order)), step.elem_type)
        axis = order.index(step.axis)
        self.make("DequantizeLinear", [narrow, *dequantize.input[1:]], list(node.output), name=node.name, axis=axis)
        return True

    def _moved_inputs(self, node: onnx.NodeProto, data: str, step: Step) -> list[str] | None:
        """The inputs of a move of 8 bits; None if there is no such move."""
        if node.op_type == "Resize" and attributes_of(node).get("mode", b"nearest") != b"nearest":
            return None
        if (
            node.op_type == "Resize"
            and attributes_of(node).get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        ):
            return None
        if node.op_type == "Pad" and attributes_of(node).get("mode", b"constant") == b"constant":
            value = np.float32(0)
            if len(node.input) > 2 and node.input[2]:
                given = self.values.constant(node.input[2])
                if given is None or given.size != 1:
                    return None
                value = given.reshape(())
            filled, (low, high) = int(step.rounded(float(value))), step.limits()
            exact = low <= filled <= high and np.float32(filled - int(step.zero)) * step.scale == value
            if not exact:
                return None
            fill = self.constant(node.output[0], "fill", np.asarray(filled), step.elem_type)
            return [data, node.input[1], fill, *node.input[3:]]
        return [data, *node.input[1:]]

    def _concat(self, node: onnx.NodeProto) -> bool:
        found = [self._source(name) for name in node.input]
        if any(one is None for one in found):
            return False
        pairs = [one for one in found if one is not None]
        first, step = pairs[0]
        if step.elem_type not in EIGHT_BITS or not all(step.same(other) for _, other in pairs):
            return False
        (result,) = node.output
        narrow = self.name(result, "8bit", step.elem_type, self.values.shape(result))
        self.make("Concat", [one.input[0] for one, _ in pairs], [narrow], node.attribute, node.name)
        self.make("DequantizeLinear", [narrow, *first.input[1:]], [result])
        return True

    # What is before a QuantizeLinear.

    def _quantize(self, node: onnx.NodeProto) -> bool:
        step = self.values.step(node)
        if step is None or step.elem_type not in EIGHT_BITS:
            return False
        source, (result,) = node.input[0], node.output
        found = self._source(source)
        if found is not None and found[1].same(step):
            self.make("Identity", [found[0].input[0]], [result])
            return True
        before = self.values.makers.get(source)
        if before is None or before.domain or source in self.busy:
            return False
        if self._is_implied(before, step):
            self.make("QuantizeLinear", [before.input[0], *node.input[1:]], [result], node.attribute, node.name)
            return True
        if not step.single and self._clip_in_8_bits(node, before, step):
            return True
        if step.single and (before.op_type in MOVES or before.op_type == "Concat"):
            return self._before_move(node, before, step)
        return self._whole_steps(node, step)

    def _is_implied(self, node: onnx.NodeProto, step: Step) -> bool:
        """Whether a ReLU or Clip changes nothing that is within the limits of the 8-bit type."""
        low, high = step.limits()
        if node.op_type == "Relu":
            return bool((step.zero == low).all())
        bounds = InSteps(self).bounds(node)
        if bounds is None:
            return False
        under = bounds[0] == -np.inf or bool((step.rounded(bounds[0]) <= low).all())
        return under and (bounds[1] == np.inf or bool((step.rounded(bounds[1]) >= high).all()))

    def _clip_in_8_bits(self, node: onnx.NodeProto, clip: onnx.NodeProto, step: Step) -> bool:
        """QuantizeLinear(Clip(x)) → Clip(QuantizeLinear(x)), with bounds in the steps of each channel.

        Kernels compare four times as many 8-bit integers at once. Bounds in one step cost nothing as it is.
        """
        (result,), limits = node.output, step.limits()
        bounds, shape = InSteps(self).bounds(clip), self.values.shape(result)
        if bounds is None or shape is None or not (step.scale > 0).all():
            return False
        column = (-1, *[1] * (len(shape) - 1 - step.axis))
        needed = []
        for operator, bound, limit in zip(("Max", "Min"), bounds, limits, strict=True):
            in_steps = np.clip(step.rounded(bound), *limits) if np.isfinite(bound) else np.asarray(limit)
            if (in_steps != limit).any():
                needed.append((operator, in_steps.reshape(column)))
        names = [self.name(result, f"unclipped{place}", step.elem_type, shape) for place, _ in enumerate(needed)]
        self.make("QuantizeLinear", [clip.input[0], *node.input[1:]], [names[0]], node.attribute, node.name)
        for name, then, (operator, in_steps) in zip(names, [*names[1:], result], needed, strict=True):
            self.make(operator, [name, self.constant(then, "bound", in_steps, step.elem_type)], [then])
        return True

    def _before_move(self, node: onnx.NodeProto, move: onnx.NodeProto, step: Step) -> bool:
        """QuantizeLinear(move(x)) → move(QuantizeLinear(x)), if that is all that the move is for."""
        many = move.op_type == "Concat"
        if len(move.output) > 1 or not self.values.private(move.output[0]) or move.op_type in _TAKES:
            return False
        sources = list(move.input) if many else [move.input[0]]
        if not all(self._is_made_here(name) for name in sources):
            return False
        narrow = [
            self.name(node.output[0], f"8bit{place}", step.elem_type, self.values.shape(name))
            for place, name in enumerate(sources)
        ]
        inputs = narrow if many else self._moved_inputs(move, narrow[0], step)
        if inputs is None:
            return False
        for name, made in zip(sources, narrow, strict=True):
            self.make("QuantizeLinear", [name, *node.input[1:]], [made], node.attribute)
        self.make(move.op_type, inputs, [node.output[0]], move.attribute, move.name)
        return True

    def _is_made_here(self, name: str) -> bool:
        """Whether a value is float32 that one node alone needs, or the real numbers of 8 bits."""
        if self.values.elem(name) != TensorProto.FLOAT or name in self.values.constants:
            return False
        return self._source(name) is not None or self.values.private(name) or name not in self.values.makers

    # Scales of constants.

    def _whole_steps(self, node: onnx.NodeProto, step: Step) -> bool:
        """What a QuantizeLinear reads in its steps: no division is left."""
        if (step.scale == 1).all() or (step.zero != step.zero.flat[0]).any():
            return False
        made = InSteps(self).value(node.input[0], step)
        if made is None:
            return False
        one = self.constant(node.output[0], "one", np.float32(1), TensorProto.FLOAT)
        zero = node.input[2:3]
        if not step.single:
            zero = [self.constant(node.output[0], "zero", step.zero.flat[0], step.elem_type)]
        self.make("QuantizeLinear", [made(), one, *zero], list(node.output), name=node.name)
        return True

    def _source(self, name: str) -> tuple[onnx.NodeProto, Step] | None:
        """The DequantizeLinear that makes a value, and its step."""
        node = self.values.maker(name, "DequantizeLinear")
        step = None if node is None else self.values.step(node)
        return None if node is None or step is None else (node, step)

    def name(self, base: str, part: str, elem_type: int, shape: tuple[int, ...] | None) -> str:
        name = f"{base}/{part}"
        while name in self.values.makers or name in self.values.types:
            name += "'"
        self.values.types[name] = (elem_type, shape)
        return name

    def constant(self, base: str, part: str, value: Array, elem_type: int) -> str:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
        name = self.name(base, part, elem_type, value.shape)
        value = value if self._change is None else self._change(part, value)
        tensor = numpy_helper.from_array(np.asarray(value).astype(dtype), name)
        self.graph.initializer.append(tensor)
        self.values.constants[name] = tensor
        return name

    def make(
        self, operator: str, inputs: list[str], outputs: list[str], given: Any = (), name: str = "", **attributes: Any
    ) -> None:
        """Adds a node, which goes by its first result unless it stands for one that has a name."""
        node = onnx.helper.make_node(operator, inputs, outputs, name=name or outputs[0], **attributes)
        node.attribute.extend(given)
        self.made.append(node)
        for output in outputs:
            self.values.makers[output] = node
            self.busy.add(output)
