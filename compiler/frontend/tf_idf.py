"""TfIdfVectorizer of integers: how often each n-gram of a list occurs in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from .composer import Composer


def tf_idf(to: Composer) -> Sequence[str] | None:
    """x [b, c] or [c] of integers → float32 [b, entries] or [entries], by the attribute `mode`.

    Each n-gram of the pool is compared with all windows of its length, the elements next to each other or up to
    `max_skip_count` apart.
    """
    attributes = to.attributes
    dtype, shape = to.type(to.node.input[0])
    if shape is None or "pool_int64s" not in attributes:
        return None
    entries = list(attributes["ngram_indexes"])
    size, row = max(entries) + 1, shape[-1] if shape else 1
    rows = to("Reshape", to.node.input[0], to.constant([-1, row], TensorProto.INT64))
    total = ""
    weights = attributes.get("weights") if attributes["mode"] != b"TF" else None
    for length, grams, first in _pool(attributes["pool_int64s"], attributes["ngram_counts"]):
        if not attributes["min_gram_length"] <= length <= attributes["max_gram_length"]:
            continue
        counts = [
            _count(to, rows, dtype, row, grams, distance)
            for distance in range(1, attributes["max_skip_count"] + 2 if length > 1 else 2)
            if (length - 1) * distance < row
        ]
        if not counts:
            continue
        found = to("Sum", *counts)
        if attributes["mode"] == b"IDF":
            found = to("Min", found, to.constant(1, TensorProto.FLOAT))
        # [b, grams] to the grams' places in the result
        spread = np.zeros((len(grams), size))
        for number in range(len(grams)):
            spread[number, entries[first + number]] = weights[first + number] if weights else 1
        part = to("MatMul", found, to.constant(spread, TensorProto.FLOAT))
        total = to("Add", total, part) if total else part
    if not total:
        total = to.constant(np.zeros((shape[0] if len(shape) == 2 else 1, size)), TensorProto.FLOAT)
    form = to.constant([size] if len(shape) < 2 else [shape[0], size], TensorProto.INT64)
    return [to("Reshape", total, form)]


def _pool(pool: Sequence[int], starts: Sequence[int]) -> list[tuple[int, list[tuple[int, ...]], int]]:
    """The n-grams by their length, and the number of the first of them."""
    found, first = [], 0
    for number, start in enumerate(starts):
        length = number + 1
        part = pool[start : starts[number + 1] if number + 1 < len(starts) else len(pool)]
        grams = [tuple(part[i : i + length]) for i in range(0, len(part) - length + 1, length)]
        if grams:
            found.append((length, grams, first))
        first += len(grams)
    return found


def _count(to: Composer, rows: str, dtype: int, row: int, grams: Sequence[Sequence[int]], distance: int) -> str:
    """rows [b, row] → float32 [b, grams]: at how many places a gram begins whose elements are `distance` apart."""
    length = len(grams[0])
    windows = row - (length - 1) * distance
    same = ""
    for number in range(length):
        bounds = (to.constant([bound], TensorProto.INT64) for bound in (number * distance, number * distance + windows))
        part = to("Slice", rows, *bounds, to.constant([1], TensorProto.INT64))
        lifted = to("Unsqueeze", part, to.constant([2], TensorProto.INT64))
        equal = to("Equal", lifted, to.constant([gram[number] for gram in grams], dtype))
        same = to("And", same, equal) if same else equal
    hits = to("Cast", same, to=TensorProto.FLOAT)
    return to("ReduceSum", hits, to.constant([1], TensorProto.INT64), keepdims=0)
