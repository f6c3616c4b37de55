"""What a QuantizeLinear reads, in its steps: the division by its scale, and factors before it, go into constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto

from .graph import attributes_of
from .quantised import Array, Step, Values

_HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu")
_DEEPEST = 32  # nodes between a QuantizeLinear and what is in its steps
_LEAST_STEP = 1e-30  # below which quotients by a step may have no end

# Makes the nodes for a value in steps, and returns its name.
_Made = Callable[[], str]


class Sweep(Protocol):
    """What nodes and names are made by."""

    values: Values

    def name(self, base: str, part: str, elem_type: int, shape: tuple[int, ...] | None) -> str: ...
    def constant(self, base: str, part: str, value: Array, elem_type: int) -> str: ...
    def make(
        self, operator: str, inputs: list[str], outputs: list[str], given: Any = (), name: str = "", **attributes: Any
    ) -> None: ...


class InSteps:
    """Values in other steps than ones, at no cost: what is above them in the graph is private to them.

    Before a factor below zero steps are below zero too, but for what makes a difference between signs.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.values = sweep, sweep.values

    def value(self, name: str, step: Step, depth: int = 0) -> _Made | None:
        """A float32 value divided by the step's scale; None if that would cost something."""
        node, shape = self.values.makers.get(name), self.values.shape(name) or ()
        if node is None or node.domain or depth > _DEEPEST or self.values.elem(name) != TensorProto.FLOAT:
            return None
        if not step.single and shape[step.axis : step.axis + 1] != step.scale.shape:
            return None
        found = self.values.dequantised(name)
        if found is not None:
            alike = step.single or found[1].single or found[1].axis == step.axis
            return (lambda: self._dequantised(node, *found, step)) if alike else None
        if not self.values.private(name):
            return None
        rising = bool((step.scale > 0).all())
        if node.op_type in _HOMOGENEOUS:
            source = self.value(node.input[0], step, depth + 1) if rising else None
            return None if source is None else lambda: self._again(node, [source(), *node.input[1:]])
        if node.op_type == "Clip":
            bounded = rising and self.bounds(node) is not None
            clipped = self.value(node.input[0], step, depth + 1) if bounded else None
            return None if clipped is None else lambda: self._clip(node, clipped(), step)
        rules = {"Add": self._sum, "BatchNormalization": self._norm, "Concat": self._concat, "Mul": self._product}
        return rules[node.op_type](node, step, depth) if node.op_type in rules else None

    def bounds(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        """Between which numbers a Clip keeps its results."""
        if node.op_type != "Clip":
            return None
        bounds = []
        for place, default in ((1, -np.inf), (2, np.inf)):
            given = node.input[place] if len(node.input) > place else ""
            value = self.values.constant(given) if given else np.float32(default)
            if value is None or value.size != 1:
                return None
            bounds.append(float(value.reshape(())))
        return bounds[0], bounds[1]

    def _sum(self, node: onnx.NodeProto, step: Step, depth: int) -> _Made | None:
        if node.input[0] == node.input[1] or not (step.single or self._has_one_rank(node)):
            return None
        operands: list[_Made] = []
        for name in node.input:
            value = self.values.constant(name)
            if value is not None:
                operands.append(lambda value=value: self._quotient(node, "summand", value, step))  # type: ignore[misc]
            elif (made := self.value(name, step, depth + 1)) is not None:
                operands.append(made)
            else:
                return None
        return lambda: self._again(node, [operand() for operand in operands])

    def _product(self, node: onnx.NodeProto, step: Step, depth: int) -> _Made | None:
        """One operand of a product has the steps, whichever can; a constant one vanishes in the steps, if it can."""
        left, right = node.input
        if left == right:
            return None
        if step.single or self._has_one_rank(node):
            for place, (name, other) in enumerate(((left, right), (right, left))):
                factor = self.values.constant(other)
                inner = step if factor is None else self._before(step, factor, node.output[0])
                made = self.value(name, inner, depth + 1) if inner is not None else None
                if made is not None and factor is not None:
                    return made
                if made is not None:
                    first, source = not place, made
                    return lambda: self._again(node, [source(), other] if first else [other, source()])
        for name, other in ((left, right), (right, left)):
            value = self.values.constant(other)
            if value is not None:
                return lambda: self._again(node, [name, self._quotient(node, "factor", value, step)])
        return None

    def _norm(self, node: onnx.NodeProto, step: Step, depth: int) -> _Made | None:
        """A batch normalisation of fixed statistics as a product, unless the steps take that, and a sum."""
        values = [self.values.constant(name) for name in node.input[1:]]
        if len(node.output) > 1 or any(value is None or value.dtype != np.float32 for value in values):
            return None
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
        column = (-1, *[1] * (len(self.values.shape(node.output[0]) or ()) - 2))
        factor = (gamma / np.sqrt(variance + attributes_of(node).get("epsilon", 1e-5))).reshape(column)
        shift = beta.reshape(column) - mean.reshape(column) * factor
        inner = self._before(step, factor, node.output[0])
        source = self.value(node.input[0], inner, depth + 1) if inner is not None else None

        def make() -> str:
            if source is not None:
                product = source()
            else:
                product = self._result(node)
                self.sweep.make("Mul", [node.input[0], self._quotient(node, "factor", factor, step)], [product])
            result = self._result(node)
            self.sweep.make("Add", [product, self._quotient(node, "summand", shift, step)], [result])
            return result

        return make

    def _concat(self, node: onnx.NodeProto, step: Step, depth: int) -> _Made | None:
        """Each part with the steps of its channels."""
        axis, begin = attributes_of(node)["axis"] % len(self.values.shape(node.output[0]) or (0,)), 0
        parts: list[_Made] = []
        for name in node.input:
            end = begin + (self.values.shape(name) or (0,) * (axis + 1))[axis]
            cut = not step.single and step.axis == axis
            part = self.value(name, replace(step, scale=step.scale[begin:end]) if cut else step, depth + 1)
            if part is None:
                return None
            parts.append(part)
            begin = end
        return lambda: self._again(node, [part() for part in parts])

    def _before(self, step: Step, factor: Array, name: str) -> Step | None:
        """The steps before a multiplication by constants; None if they are no steps, or not along one axis."""
        rank = len(self.values.shape(name) or ())
        axes = [rank - factor.ndim + axis for axis, size in enumerate(factor.shape) if size > 1]
        if len(axes) > 1 or factor.ndim > rank or (axes and not step.single and axes != [step.axis]):
            return None
        with np.errstate(all="ignore"):
            scale = step.scale / factor.reshape(-1 if axes else ())
        if not ((np.abs(scale) > _LEAST_STEP) & (np.abs(scale) < np.finfo(np.float32).max)).all():
            return None
        return replace(step, scale=scale.astype(np.float32), axis=axes[0] if axes else step.axis)

    def _has_one_rank(self, node: onnx.NodeProto) -> bool:
        """Whether a node's operands that are no constants have as many axes as its result."""
        operands = [self.values.shape(name) for name in node.input if name not in self.values.constants]
        return all(len(shape or ()) == len(self.values.shape(node.output[0]) or ()) for shape in operands)

    def _again(self, node: onnx.NodeProto, inputs: list[str]) -> str:
        result = self._result(node)
        self.sweep.make(node.op_type, inputs, [result], given=node.attribute)
        return result

    def _result(self, node: onnx.NodeProto) -> str:
        old = node.output[0]
        return self.sweep.name(old, "steps", TensorProto.FLOAT, self.values.shape(old))

    def _quotient(self, node: onnx.NodeProto, part: str, value: Array, step: Step) -> str:
        """A constant operand of a node, divided by the scale, which broadcasts from the last axis on."""
        scale = step.scale
        if not step.single:
            scale = scale.reshape(-1, *[1] * (len(self.values.shape(node.output[0]) or ()) - 1 - step.axis))
        return self.sweep.constant(node.output[0], part, value / scale, TensorProto.FLOAT)

    def _dequantised(self, node: onnx.NodeProto, data: str, found: Step, step: Step) -> str:
        """The real numbers of 8 bits in other steps, which may be those of channels."""
        result = self._result(node)
        scale = found.scale / step.scale
        zero = np.broadcast_to(found.zero, scale.shape)
        constants = [
            self.sweep.constant(result, "scale", scale, TensorProto.FLOAT),
            self.sweep.constant(result, "zero", zero, found.elem_type),
        ]
        self.sweep.make("DequantizeLinear", [data, *constants], [result], axis=found.axis if step.single else step.axis)
        return result

    def _clip(self, node: onnx.NodeProto, source: str, step: Step) -> str:
        bounds = self.bounds(node)
        assert bounds is not None
        for operator, bound in (("Max", bounds[0]), ("Min", bounds[1])):
            if np.isfinite(bound):
                narrow = self._result(node)
                self.sweep.make(operator, [source, self._quotient(node, "bound", np.float32(bound), step)], [narrow])
                source = narrow
        return source
