"""Pairwise distances: com.microsoft's CDist, and what bodies ask for that need them."""

from __future__ import annotations

from ..domains import PROGRAMS
from ..programs import type_attributes
from .body import Body, Call, Refused


def squared_distances(call: Call, x: str, columns: str, shape: tuple[int, int], elem_type: int) -> str:
    """x [N, K], columns [K, P] → [N, P], which is `shape`."""
    return call.own(PROGRAMS, "Distances", [x, columns], {"power": 2, **type_attributes((elem_type, shape))})


def _cdist(call: Call) -> None:
    metric = call.attribute("metric", "sqeuclidean")
    if metric not in ("sqeuclidean", "euclidean"):
        raise Refused(f"its metric {metric!r} is none of onnxruntime's")
    a, b = call.shape("A"), call.shape("B")
    if len(a) != 2 or len(b) != 2 or a[1] != b[1]:
        raise Refused(f"its inputs of the shapes {list(a)} and {list(b)} are no two matrices of equal width")
    columns = call.op("Transpose <perm = [1, 0]>", "B")
    squares = squared_distances(call, "A", columns, (a[0], b[0]), call.elem("A"))
    call.let("C", "Sqrt" if metric == "euclidean" else "Identity", squares)


BODIES: dict[tuple[str, str], Body] = {("com.microsoft", "CDist"): Body("A B", "C", _cdist)}
