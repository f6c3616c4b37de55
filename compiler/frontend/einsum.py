"""Einsum of two operands as a product of matrices, for which there are kernels, or element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnx import TensorProto

from .composer import Composer

_TYPES = frozenset(
    getattr(TensorProto, name)
    for name in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT32", "INT64", "UINT32", "UINT64")
)

Label = tuple[str, int]  # a letter and 0, or `...` and the axis that it stands for, from the end


def einsum(call: Composer) -> Sequence[str] | None:
    """Σ a · b, if all sizes are known, an operand has no label twice, and none is stretched but for missing axes."""
    if len(call.node.input) != 2:
        return None
    types = [call.type(name) for name in call.node.input]
    shapes = [shape for _, shape in types if shape is not None and 0 not in shape]
    if len(shapes) != 2 or types[0][0] not in _TYPES:
        return None
    terms, result = _labels(call.attributes["equation"].decode(), [len(shape) for shape in shapes])
    sizes: dict[Label, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            if sizes.setdefault(label, size) != size or term.count(label) > 1:
                return None
    names = list(call.node.input)
    if call.is_constant(names[0]):  # weights are the second operand of a product
        names, terms = names[::-1], terms[::-1]
    for place, other in ((0, 1), (1, 0)):
        gone = [axis for axis, label in enumerate(terms[place]) if label not in (*result, *terms[other])]
        if gone:
            names[place] = call("ReduceSum", names[place], call.constant(gone), keepdims=0)
            terms[place] = [label for axis, label in enumerate(terms[place]) if axis not in gone]
    left, right = terms
    both = [label for label in result if label in left and label in right]
    rows, columns = ([label for label in result if label in term and label not in both] for term in terms)
    summed = [label for label in left if label not in result]

    def extents(labels: list[Label]) -> list[int]:
        return [sizes[label] for label in labels]

    def arranged(place: int, labels: list[Label], *shape: int) -> str:
        order = [terms[place].index(label) for label in labels]
        value = names[place] if order == sorted(order) else call("Transpose", names[place], perm=order)
        return value if list(shape) == extents(labels) else call.reshape(value, *shape)

    outer, m, n, k = extents(both), *map(math.prod, map(extents, (rows, columns, summed)))
    if summed:
        operands = arranged(0, both + rows + summed, *outer, m, k), arranged(1, both + summed + columns, *outer, k, n)
        made = call("MatMul", *operands)
    else:
        made = call("Mul", arranged(0, both + rows, *outer, m, 1), arranged(1, both + columns, *outer, 1, n))
    found = both + rows + columns
    if extents(found) != [*outer, m, n]:
        made = call.reshape(made, *extents(found))
    return [made if found == result else call("Transpose", made, perm=[found.index(label) for label in result])]


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[list[Label]], list[Label]]:
    """Of the operands' axes, and of the result's."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    named = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if not arrow:
        letters = sorted(set(left) - set(".,"))
        right = "..." + "".join(letter for letter in letters if left.count(letter) == 1)

    def axes(term: str, count: int) -> list[Label]:
        before, dots, after = term.partition("...")
        stands_for: list[Label] = [("...", axis) for axis in range(-count, 0)] if dots else []
        return [*((letter, 0) for letter in before), *stands_for, *((letter, 0) for letter in after)]

    stated = [count for term, count in zip(terms, named, strict=True) if "..." in term]
    return [axes(*one) for one in zip(terms, named, strict=True)], axes(right, max(stated, default=0))
