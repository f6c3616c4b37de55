"""Forests of decision trees, as tables that a kernel walks; `frontend/forest.py` makes them.

A node is a word and a threshold. The word holds, from the lowest bit on, the number of a feature (`feature_bits` of
them), with `mixed` comparisons one bit that says whether the feature changes its sign, and the number of the first of
two nodes side by side. A feature that is at most the threshold leads to the second of them, any other, a NaN too, to
the first. A leaf's threshold is a NaN and its word leads to itself, so that walking on does no harm; the low bits of
the NaN are the number of a row of the table of leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax

from .define import define

FOREST = "edgec.forest"
AGGREGATES = ("SUM", "MIN", "MAX")


def forest(data: Any, tables: Sequence[Any], **attributes: Any) -> Any:
    """A Relax expression: for each row of `data`, its leaves' rows summed in the order of the trees, or their extremes.

    Args:
        data: [rows, features], float32 or float64.
        tables: nodes [node, 2] uint32 of words and the bits of thresholds in float32; or, where that is too narrow,
            words [node] uint32 or uint64 and thresholds [node] of floats. Then roots [tree, 2] int32, of the node and
            the tree's depth, and leaves [leaf, column] of any numbers. All is compared and summed in the data's type.
        attributes: `feature_bits`, `mixed`, `aggregate` (one of AGGREGATES), and `shallow`, whether most paths are
            much shorter than the longest.
    """
    return _call(data, *tables, **attributes)


def _infer_type(call: Any) -> Any:
    rows, leaves = call.args[0].ty.shape[0], call.args[-1].ty
    return relax.TensorType([int(rows), int(leaves.shape[1])], str(call.args[0].ty.dtype))


_call = define(FOREST, _infer_type)
