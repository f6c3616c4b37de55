"""Non-maximum suppression of boxes, as ONNX means it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from .by_hand import independent, program, serial, whole
from .define import define

SUPPRESS = "edgec.suppress"


def suppress(arguments: Sequence[Any], most: int, centred: bool) -> Any:
    """The boxes that stay: (int64 [most, 3] of batch, class and box, with zeros behind; int64 []: how many).

    Args:
        arguments: boxes [B, N, 4]; scores [B, C, N] float32 in descending order, and the boxes that they belong to,
            int64; how many boxes of a class stay at most, int64 [1]; at which overlap (intersection over union) the
            worse of two goes, and the score that a box must be above, float32 [1].
        centred: boxes are (x, y, width, height) of the centre; else two corners (y, x, y, x).
    """
    return _call(*arguments, most=most, centred=int(centred))


def _infer_type(call: Any) -> Any:
    return relax.TupleType([relax.TensorType([int(call.attrs["most"]), 3], "int64"), relax.TensorType([], "int64")])


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    most, centred = int(call.attrs["most"]), bool(call.attrs["centred"])

    def suppressed(*arguments: Any) -> Any:
        def write(*buffers: Any) -> None:
            _write(buffers, most, centred)

        return program(list(arguments), [[most, 3], []], ["int64", "int64"], write, "suppress")

    return builder.call_te(suppressed, *call.args, primfunc_name_hint="suppress")


def _write(
    buffers: Sequence[Any],
    most: int,
    centred: bool,
) -> None:
    boxes, scores, order, limit, overlap, least, kept, count = buffers
    batches, classes, size = (int(extent) for extent in scores.shape)
    T.buffer_store(count, whole(0), [])
    flag = T.alloc_buffer((1,), "int32", scope="local")
    first = T.alloc_buffer((1,), "int64", scope="local")  # of this class among those kept
    with independent(1, 0), serial(batches) as batch, serial(classes) as label:
        T.buffer_store(first, count[()], [0])
        with serial(size) as rank:
            box = order[batch, label, rank]
            room = tirx.all(count[()] - first[0] < limit[0], count[()] < whole(most))
            stays = tirx.all(room, scores[batch, label, rank] > least[0])
            T.buffer_store(flag, stays.astype("int32"), [0])
            with T.serial(whole(0), tirx.if_then_else(flag[0] != 0, count[()] - first[0], whole(0))) as other:
                rival = kept[first[0] + other, whole(2)]
                over = _overlap(boxes, batch, box, rival, centred) > overlap[0]
                T.buffer_store(flag, tirx.Select(over, tirx.const(0), flag[0]), [0])
            with T.If(flag[0] != 0), T.Then():
                for column, value in enumerate((batch, label, box)):
                    T.buffer_store(kept, value, [count[()], whole(column)])
                T.buffer_store(count, count[()] + whole(1), [])
    with serial(most) as row, T.If(row >= count[()]), T.Then():
        for column in range(3):
            T.buffer_store(kept, whole(0), [row, whole(column)])


def _overlap(boxes: Any, batch: Any, one: Any, other: Any, centred: bool) -> Any:
    """Intersection over union; 0 of boxes without area."""
    zero = tirx.const(0.0, "float32")
    sides = [_sides(boxes, batch, box, centred) for box in (one, other)]
    inner = [
        tirx.max(tirx.min(sides[0][axis][1], sides[1][axis][1]) - tirx.max(sides[0][axis][0], sides[1][axis][0]), zero)
        for axis in (0, 1)
    ]
    areas = [(y[1] - y[0]) * (x[1] - x[0]) for y, x in sides]
    shared = inner[0] * inner[1]
    joined = areas[0] + areas[1] - shared
    none = tirx.any(areas[0] <= zero, areas[1] <= zero, joined <= zero)
    return tirx.Select(none, zero, shared / tirx.Select(none, tirx.const(1.0, "float32"), joined))


def _sides(boxes: Any, batch: Any, box: Any, centred: bool) -> list[tuple[Any, Any]]:
    """Lower and upper end along the first and the second axis."""
    a, b, c, d = (boxes[batch, box, whole(i)] for i in range(4))
    if centred:
        half = tirx.const(0.5, "float32")
        return [(a - c * half, a + c * half), (b - d * half, b + d * half)]
    return [(tirx.min(a, c), tirx.max(a, c)), (tirx.min(b, d), tirx.max(b, d))]


_call = define(SUPPRESS, _infer_type, _legalize)
