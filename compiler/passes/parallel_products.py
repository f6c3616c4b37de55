"""Narrow products over one input become one: the boxes, scores and labels of a detector's head, say.

A kernel computes whole vectors of output channels, so three products of 4, 12 and 8 channels do the work of three of
16. Merged they share vectors, and read their input once. Products of whole vectors gain nothing by it and lose the
order in which their results are stored, so they stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..kernels.limits import Limits
from .constants import constant
from .rewrite import count_uses, definitions_of, operator_of, readers_of, replace_bindings, shape_of

# How much of the vectors' work has to go. At 0.75 nothing was gained, at 0.67 a tenth, at 0.5 a third.
_WORTH = 0.7
_ACTIVATIONS = frozenset(f"relax.{name}" for name in ("nn.relu", "sigmoid", "tanh", "nn.silu"))


@dataclass(frozen=True)
class _Member:
    """A product in `main`, with the bias and the activation that follow it alone.

    Attributes:
        last: the variable that what is merged stands for.
        bias: [channels]; None if there is none.
        activation: the operator; None if there is none.
    """

    call: Any
    last: Any
    bias: np.ndarray[Any, Any] | None
    activation: Any

    @property
    def weight(self) -> np.ndarray[Any, Any]:
        return self.call.args[1].value.numpy()  # type: ignore[no-any-return]


def merge_parallel_products(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """The module in which convolutions (NHWC) and products by constants with the same input and form are one.

    Where that saves work; a slice of the result stands for each.
    """
    groups: dict[Any, list[_Member]] = {}
    graph = _Graph(module)
    for var, call in graph.definitions.items():
        if (form := _form(call)) is not None:
            member = graph.member(var, call)
            groups.setdefault((*form, member.activation), []).append(member)
    made: dict[Any, Callable[[relax.BlockBuilder], Any]] = {}
    for members in groups.values():
        if len(members) > 1 and _pays([member.weight.shape[-1] for member in members], limits.lanes):
            made |= _merged(members)
    return replace_bindings(module, made) if made else module


def _form(call: Any) -> tuple[Any, ...] | None:
    """What products must have in common, of float32 with constant weights; None of anything else."""
    if operator_of(call) not in ("relax.matmul", "relax.nn.conv2d") or str(call.ty.dtype) != "float32":
        return None
    data, weight = call.args
    if not isinstance(data, relax.Var) or not isinstance(weight, ir.GenericConst) or 0 in shape_of(call):
        return None
    if operator_of(call) == "relax.matmul":
        return ("matmul", data) if len(shape_of(weight)) == 2 and len(shape_of(data)) > 1 else None
    attrs = call.attrs
    if int(attrs.groups) != 1 or [str(attrs.data_layout), str(attrs.kernel_layout)] != ["NHWC", "HWIO"]:
        return None
    numbers = (tuple(int(v) for v in getattr(attrs, name)) for name in ("strides", "padding", "dilation"))
    return ("conv2d", data, tuple(shape_of(weight)[:-1]), *numbers)


def _pays(channels: list[int], lanes: int) -> bool:
    apart, together = (sum(-(-count // lanes) for count in counts) for counts in (channels, [sum(channels)]))
    return together <= _WORTH * apart


class _Graph:
    def __init__(self, module: tvm.IRModule) -> None:
        self.definitions, self.uses = definitions_of(module), count_uses(module)
        self.readers = readers_of(self.definitions)

    def member(self, var: Any, call: Any) -> _Member:
        last, bias, activation = var, None, None
        follower = self._only_reader(last)
        if follower is not None and operator_of(self.definitions[follower]) == "relax.add":
            bias = _bias(self.definitions[follower], last)
            if bias is not None:
                last = follower
                follower = self._only_reader(last)
        if follower is not None and operator_of(self.definitions[follower]) in _ACTIVATIONS:
            last, activation = follower, self.definitions[follower].op
        return _Member(call, last, bias, activation)

    def _only_reader(self, var: Any) -> Any:
        readers = self.readers.get(var, [])
        return readers[0] if len(readers) == 1 and self.uses.get(var) == 1 else None


def _bias(call: Any, product: Any) -> np.ndarray[Any, Any] | None:
    """What a sum adds to each channel of a product, [channels]; None if it is something else."""
    other = call.args[1] if call.args[0].same_as(product) else call.args[0]
    if not isinstance(other, ir.GenericConst) or shape_of(call) != shape_of(product):
        return None
    values, channels = other.value.numpy(), shape_of(product)[-1]
    if values.size not in (1, channels) or values.size != (values.shape[-1] if values.ndim else 1):
        return None
    return np.broadcast_to(values.reshape(-1), (channels,))


def _merged(members: list[_Member]) -> dict[Any, Callable[[relax.BlockBuilder], Any]]:
    """For each member's variable what makes its part; the first of them makes the whole."""
    whole: list[Any] = []

    def part(begin: int, end: int) -> Callable[[relax.BlockBuilder], Any]:
        def make(builder: relax.BlockBuilder) -> Any:
            if not whole:
                whole.append(_whole(builder, members))
            return relax.op.strided_slice(whole[0], [len(shape_of(whole[0])) - 1], [begin], [end])

        return make

    ends = np.cumsum([member.weight.shape[-1] for member in members]).tolist()
    spans = zip([0, *ends], ends, strict=False)
    return {member.last: part(*span) for member, span in zip(members, spans, strict=True)}


def _whole(builder: relax.BlockBuilder, members: list[_Member]) -> Any:
    call = members[0].call
    weight = constant(np.concatenate([member.weight for member in members], axis=-1))
    made = builder.emit(ir.Call(call.op, [call.args[0], weight], call.attrs, call.ty_args))
    if any(member.bias is not None for member in members):
        none = (np.zeros(member.weight.shape[-1], np.float32) for member in members)
        biases = [zero if member.bias is None else member.bias for member, zero in zip(members, none, strict=True)]
        made = builder.emit(relax.op.add(made, constant(np.concatenate(biases))))
    activation = members[0].activation
    return made if activation is None else builder.emit(ir.Call(activation, [made]))
