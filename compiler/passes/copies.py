"""Operators that only copy: concatenation, slices and padding, in forms that show which part goes where.

Lowered here and not by TVM, so that their programs say of themselves what they copy; a later pass (views.py) spares
as many of them as it can.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, te, topi

from .rewrite import operator_of, rewrite_calls, shape_of

# Attributes of the programs: what they copy, and where.
CONCAT = "edgec.concat"  # the axis
SLICE = "edgec.slice"  # where the result begins in the argument
PAD = "edgec.pad"  # where the argument begins in the result
PAD_VALUE = "edgec.pad_value"

# Paddings of one tensor are cut out of one that is larger than each, at most by this factor.
_MOST_SHARED = 1.5


def lower_copies(module: tvm.IRModule) -> tvm.IRModule:
    """Lowers `concat`, `split`, `strided_slice` without steps and constant padding in `main`.

    On the way a padding of a padding becomes one, and several paddings of one tensor parts of one. A concatenation
    that begins like one before takes that one's result, as in a block of DenseNet, and parts that were neighbours
    before are copied as one.
    """
    lower = _Lower(module["main"])
    lowering: dict[str, Callable[[relax.BlockBuilder, Any], Any]] = {
        "relax.concat": lower.concat,
        "relax.split": lower.split,
        "relax.strided_slice": lower.strided_slice,
        "relax.nn.pad": lower.pad,
    }

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        operator = lowering.get(operator_of(call))
        return call if operator is None or not _is_static(call) else operator(builder, call)

    return rewrite_calls(module, visit)


@dataclass(frozen=True)
class _Part:
    """The part of a tensor that begins at `begins` and has this shape."""

    source: Any
    begins: tuple[int, ...]
    shape: tuple[int, ...]

    def joined(self, after: _Part, axis: int) -> _Part | None:
        """This part with one that goes on where it ends along an axis; None if that one lies elsewhere."""
        begins, shape = list(self.begins), list(self.shape)
        begins[axis] += shape[axis]
        shape[axis] = after.shape[axis]
        if not self.source.same_as(after.source) or after.begins != tuple(begins) or after.shape != tuple(shape):
            return None
        shape[axis] += self.shape[axis]
        return _Part(self.source, self.begins, tuple(shape))


@dataclass(frozen=True)
class _Padding:
    """`before` and `after` each axis of a tensor, filled with `value`."""

    source: Any
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float

    def grown(self, other: _Padding, combine: Callable[[int, int], int]) -> _Padding:
        before = tuple(map(combine, self.before, other.before))
        return _Padding(self.source, before, tuple(map(combine, self.after, other.after)), self.value)

    @property
    def elements(self) -> int:
        return math.prod(b + n + a for b, n, a in zip(self.before, shape_of(self.source), self.after, strict=True))


class _Lower:
    def __init__(self, main: Any) -> None:
        self.concats: list[tuple[int, list[Any], Any]] = []  # axis, operands and result
        self.parts: dict[Any, _Part] = {}  # what a result is
        self.pads: dict[Any, _Padding] = {}
        self.padded: dict[_Padding, Any] = {}  # result
        self.shared = iter(_shared_paddings(main))

    def concat(self, builder: relax.BlockBuilder, call: Any) -> Any:
        axis = int(call.attrs.axis) % len(call.ty.shape)
        fields = self._join(builder, _fields(builder, call.args[0]), axis)
        if len(fields) == 1:
            return fields[0]
        begun = [
            (len(operands), result)
            for same, operands, result in self.concats
            if same == axis
            and len(operands) < len(fields)
            and all(a.same_as(b) for a, b in zip(operands, fields, strict=False))
        ]
        count, first = max(begun, key=lambda one: one[0], default=(1, fields[0]))
        attrs = {CONCAT: axis}
        made = builder.emit(builder.call_te(topi.concatenate, [first, *fields[count:]], axis, primfunc_attrs=attrs))
        self.concats.append((axis, fields, made))
        return made

    def _join(self, builder: relax.BlockBuilder, fields: list[Any], axis: int) -> list[Any]:
        """The operands of a concatenation, those that are neighbours in one tensor as one."""
        parts: list[_Part] = []
        for field in fields:
            shape = shape_of(field)
            part = self.parts.get(field, _Part(field, (0,) * len(shape), shape))
            both = parts[-1].joined(part, axis) if parts else None
            parts[-1:] = [both] if both else [*parts[-1:], part]
        return fields if len(parts) == len(fields) else [self._slice(builder, part) for part in parts]

    def _slice(self, builder: relax.BlockBuilder, part: _Part) -> Any:
        if part.shape == shape_of(part.source):
            return part.source
        known = next((var for var, other in self.parts.items() if _equal(part, other)), None)
        if known is not None:
            return known

        def compute(x: Any) -> Any:
            at = part.begins
            return te.compute(part.shape, lambda *i: x(*[a + b for a, b in zip(i, at, strict=True)]), "strided_slice")

        attrs = {SLICE: list(part.begins)}
        made = builder.emit(
            builder.call_te(compute, part.source, primfunc_name_hint="strided_slice", primfunc_attrs=attrs)
        )
        self.parts[made] = part
        return made

    def split(self, builder: relax.BlockBuilder, call: Any) -> Any:
        data, axis = call.args[0], int(call.attrs.axis) % len(call.args[0].ty.shape)
        parts, begins = [], [0] * len(data.ty.shape)
        for ty in call.ty.fields:
            parts.append(self._slice(builder, _Part(data, tuple(begins), tuple(map(int, ty.shape)))))
            begins[axis] += int(ty.shape[axis])
        return relax.Tuple(parts)

    def strided_slice(self, builder: relax.BlockBuilder, call: Any) -> Any:
        data, axes, first, _ends, *strides = call.args
        if any(int(s) != 1 for s in (strides[0].fields if strides else ())):
            return call
        shape, whole = shape_of(call), shape_of(data)
        begins = [0] * len(whole)
        for axis, begin in zip(axes.fields, first.fields, strict=True):
            size, at = whole[int(axis)], int(begin)
            begins[int(axis)] = min(max(at + size if at < 0 else at, 0), size)
        return self._slice(builder, _Part(data, tuple(begins), shape))

    def pad(self, builder: relax.BlockBuilder, call: Any) -> Any:
        own = _padding(call, self.pads)
        if own is None:
            return call
        shared = next(self.shared)
        whole = _Padding(own.source, shared.before, shared.after, own.value)
        if whole not in self.padded:
            self.padded[whole] = builder.emit(
                builder.call_te(
                    topi.nn.pad,
                    own.source,
                    list(whole.before),
                    list(whole.after),
                    call.attrs.pad_value,
                    primfunc_name_hint="pad",
                    primfunc_attrs={PAD: list(whole.before), PAD_VALUE: call.attrs.pad_value},
                )
            )
        result = self.padded[whole]
        begins = tuple(a - b for a, b in zip(whole.before, own.before, strict=True))
        result = self._slice(builder, _Part(result, begins, shape_of(call)))
        self.pads[result] = own
        return result


def _padding(call: Any, known: dict[Any, _Padding]) -> _Padding | None:
    """What a call of `pad` does, on top of what was done to its operand; None if it fills in no constant."""
    widths, source = [int(w) for w in call.attrs.pad_width], call.args[0]
    if str(call.attrs.pad_mode) != "constant" or min(widths) < 0:
        return None
    made = _Padding(source, tuple(widths[::2]), tuple(widths[1::2]), float(call.attrs.pad_value))
    inner = known.get(source)
    if inner is not None and inner.value == made.value:
        made = inner.grown(made, int.__add__)
    return made


def _shared_paddings(main: Any) -> list[_Padding]:
    """For each call of `pad` in order that fills in a constant: the padding that it is a part of."""
    found: dict[Any, _Padding] = {}
    for block in main.body.blocks:
        for binding in block.bindings:
            call = binding.value
            if operator_of(call) == "relax.nn.pad" and _is_static(call):
                padding = _padding(call, found)
                if padding is not None:
                    found[binding.var] = padding
    shared = []
    for padding in found.values():
        whole = padding
        for other in found.values():
            if other.source.same_as(padding.source) and other.value == padding.value:
                whole = whole.grown(other, max)
        shared.append(whole if whole.elements <= _MOST_SHARED * padding.elements else padding)
    return shared


def _fields(builder: relax.BlockBuilder, operands: Any) -> list[Any]:
    if isinstance(operands, relax.Tuple):
        return list(operands.fields)
    return [builder.emit(relax.TupleGetItem(operands, i)) for i in range(len(operands.ty.fields))]


def _equal(a: _Part, b: _Part) -> bool:
    return bool(a.source.same_as(b.source)) and (a.begins, a.shape) == (b.begins, b.shape)


def _is_static(call: Any) -> bool:
    """Whether a call's tensors have elements, and a known number of them."""

    def known(ty: Any) -> bool:
        if isinstance(ty, relax.TupleType):
            return all(known(field) for field in ty.fields)
        return isinstance(ty, relax.TensorType) and ty.shape is not None and all(int(d) > 0 for d in ty.shape)

    return known(call.ty) and (not call.args or known(call.args[0].ty))
