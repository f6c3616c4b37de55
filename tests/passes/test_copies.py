"""Operators that only copy are lowered to programs that say what they copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax, tirx, topi

from compiler.passes.copies import CONCAT, PAD, SLICE, lower_copies
from tests.passes.relax_modules import calls, check_equal, module, operators

IMAGE = ((1, 4, 5, 6), "float32")
OP = relax.op


def emit(expr: Any) -> Any:
    return relax.BlockBuilder.current().emit(expr)


def pad(x: Any, *widths: int, value: float = 0.0) -> Any:
    return emit(OP.nn.pad(x, list(widths), pad_value=value))


def split(x: Any, at: list[int], axis: int) -> list[Any]:
    parts = emit(OP.split(x, at, axis))
    return [emit(relax.TupleGetItem(parts, i)) for i in range(len(at) + 1)]


def lowered(body: Callable[..., Any], *inputs: Any) -> tvm.IRModule:
    """The module of `body`, lowered, after its results were compared with those before."""
    before = module(inputs or [IMAGE], body)
    after = relax.transform.DeadCodeElimination()(lower_copies(before))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape, dtype in inputs or [IMAGE]]
    check_equal(before, after, *arrays, tolerance=0)
    return after


def copies(mod: tvm.IRModule, kind: str) -> list[Any]:
    """What the calls of one kind of copy say of themselves, in order."""
    attrs = [mod[call.args[0]].attrs for call in calls(mod, "call_tir")]
    found = [a[kind] for a in attrs if kind in a]
    return [int(v) if isinstance(v, int | tirx.IntImm) else [int(n) for n in v] for v in found]


def test_programs_say_what_they_copy() -> None:
    mod = lowered(lambda x: OP.concat([emit(OP.strided_slice(x, [-1], [-4], [99])), pad(x, *[0] * 6, 3, 1)], -1))
    assert copies(mod, CONCAT) == [3]
    assert copies(mod, SLICE) == [[0, 0, 0, 2]]
    assert copies(mod, PAD) == [[0, 0, 0, 3]]
    assert set(operators(mod)) == {"call_tir"}


BODIES: dict[str, Callable[..., Any]] = {
    "concat of one": lambda x: OP.concat([emit(OP.exp(x))], axis=1),
    "parts in another order": lambda x: OP.concat(split(x, [1, 4], 3)[::-1], axis=3),
    "parts of another axis": lambda x: OP.concat(split(x, [2], 1), axis=2),
    "the same part twice": lambda x: OP.concat([split(x, [3], 3)[0]] * 2, axis=3),
    "slice beyond the ends": lambda x: OP.strided_slice(x, [1, 2], [-9, 2], [99, 3]),
    "slice with steps": lambda x: OP.strided_slice(x, [1, 3], [0, 5], [4, 0], [2, -1]),
    "pad with a value": lambda x: pad(x, 0, 0, 1, 2, 0, 0, 3, 0, value=-7.0),
    "pad with other values": lambda x: pad(pad(x, *[0, 1] * 4, value=2.0), *[1, 0] * 4, value=3.0),
    "pad with the edge": lambda x: OP.nn.pad(x, [0, 0, 1, 1, 1, 0, 0, 0], pad_mode="replicate"),
    "pad by nothing": lambda x: pad(OP.exp(x), *[0] * 8),
    "pads far apart": lambda x: OP.concat([emit(OP.reshape(pad(x, *[n] * 8), (-1,))) for n in (1, 9)], axis=0),
}


@pytest.mark.parametrize("name", BODIES)
def test_results_stay(name: str) -> None:
    lowered(BODIES[name])


def test_a_padding_of_a_padding_is_one() -> None:
    """As of a depthwise convolution, whose channels are filled up too."""
    mod = lowered(lambda x: pad(pad(x, 0, 0, 1, 1, 1, 1, 0, 0), 0, 0, 0, 0, 0, 0, 0, 2))
    assert copies(mod, PAD) == [[0, 1, 1, 0]]
    assert len(calls(mod)) == 1


def test_paddings_of_one_tensor_are_parts_of_one() -> None:
    def body(x: Any) -> Any:
        wide, narrow = pad(x, 0, 0, 2, 2, 2, 2, 0, 0), pad(x, 0, 0, 2, 1, 1, 2, 0, 0)
        return relax.Tuple([wide, narrow, pad(x, 0, 0, 2, 2, 2, 2, 0, 0)])

    mod = lowered(body)
    assert copies(mod, PAD) == [[0, 2, 2, 0]]
    assert copies(mod, SLICE) == [[0, 0, 1, 0]]
    assert len(calls(mod)) == 2


def test_concatenations_that_begin_alike_share_their_beginning() -> None:
    """As in a block of DenseNet, where each layer lists all before it."""

    def body(x: Any) -> Any:
        features = [x]
        for _ in range(3):
            made = emit(OP.exp(features[-1]))
            features.append(made)
            whole = emit(OP.concat(features, axis=3))
        return whole

    mod = lowered(body)
    assert [len(call.args[1].fields) for call in calls(mod, "call_tir") if CONCAT in mod[call.args[0]].attrs] == [2] * 3


@pytest.mark.parametrize("parts, operands", [([0, 1, 2], 2), ([1, 2], 2), ([1, 0, 2], 4), ([0, 2], 3)])
def test_parts_that_were_neighbours_are_copied_as_one(parts: list[int], operands: int) -> None:
    """As where YOLO's blocks join both halves of a split and what was made of one."""

    def body(x: Any) -> Any:
        pieces = split(x, [1, 3], 3)
        return OP.concat([*(pieces[part] for part in parts), emit(OP.exp(pieces[1]))], axis=3)

    mod = lowered(body)
    (concat,) = (call for call in calls(mod, "call_tir") if CONCAT in mod[call.args[0]].attrs)
    assert len(concat.args[1].fields) == operands
    assert any(field.same_as(mod["main"].params[0]) for field in concat.args[1].fields) == (parts == [0, 1, 2])


def test_empty_tensors_are_left_alone() -> None:
    mod = lowered(lambda x, y: OP.concat([x, y], axis=0), ((2, 3), "float32"), ((0, 3), "float32"))
    assert set(operators(mod)) == {"concat"}


def test_programs_that_are_there_already_stay() -> None:
    def body(x: Any) -> Any:
        builder = relax.BlockBuilder.current()
        made = builder.emit(builder.call_te(topi.exp, x, primfunc_name_hint="pad"))
        return pad(made, *[1] * 8)

    assert [call.args[0].name_hint for call in calls(lowered(body), "call_tir")] == ["pad", "pad1"]
