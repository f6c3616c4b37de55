"""Control flow in Relax: calls of functions that stand in modules of their own, which are lowered apart.

Passes see one call that they know nothing about. What it does is decided in the host program (build/extract.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax

from .define import define

BRANCH = "edgec.branch"
REPEAT = "edgec.repeat"

Type = tuple[str, tuple[int, ...]]


def branch(inputs: Sequence[Any], bodies: Sequence[int], types: Sequence[Type]) -> Any:
    """The results of one of two bodies: of the first if the first input, a bool, is true.

    Args:
        inputs: the condition, and what both bodies get.
        bodies: where they are in the list of all bodies.
        types: of the results.
    """
    return _branch(*inputs, bodies=list(bodies), **_described(types))


def repeat(inputs: Sequence[Any], body: int, types: Sequence[Type], facts: Mapping[str, Any]) -> Any:
    """A body's results after it ran some times; `frontend.flow.Facts` and the inputs are described there."""
    plain = {name: [int(v) for v in value] if isinstance(value, tuple) else int(value) for name, value in facts.items()}
    return _repeat(*inputs, bodies=[body], **plain, **_described(types))


def _described(types: Sequence[Type]) -> dict[str, Any]:
    return {"dtypes": [dtype for dtype, _ in types], "shapes": [list(shape) for _, shape in types]}


def _infer_type(call: Any) -> Any:
    pairs = zip(call.attrs["dtypes"], call.attrs["shapes"], strict=True)
    return relax.TupleType([relax.TensorType([int(size) for size in shape], str(dtype)) for dtype, shape in pairs])


_branch = define(BRANCH, _infer_type)
_repeat = define(REPEAT, _infer_type)
