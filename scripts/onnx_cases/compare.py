"""Results beside what a case expects, as onnx's own runner compares them: kinds, types, shapes, values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .cases import Case

_FRACTION_BITS = {"float16": 10, "bfloat16": 7}
_STEPS = 4


def difference(results: Sequence[Any], case: Case) -> str | None:
    """What is wrong with the results of a case; None if nothing is."""
    if len(results) != len(case.outputs):
        return f"{len(results)} outputs, not {len(case.outputs)}"
    for number, (result, expected) in enumerate(zip(results, case.outputs, strict=True)):
        atol = case.atol[number] if isinstance(case.atol, tuple) else case.atol
        wrong = _difference(result, expected, case.rtol, atol)
        if wrong:
            return f"output {number}: {wrong}"
    return None


def _difference(result: Any, expected: Any, rtol: float, atol: float) -> str | None:
    if isinstance(expected, list):
        if not isinstance(result, list) or len(result) != len(expected):
            return "another sequence"
        found = (_difference(*pair, rtol, atol) for pair in zip(result, expected, strict=True))
        return next(filter(None, found), None)
    if expected is None or result is None:
        return None if result is expected else "one is an empty optional"
    if not isinstance(result, np.ndarray):
        return f"a {type(result).__name__}"
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return f"{result.dtype}{list(result.shape)}, not {expected.dtype}{list(expected.shape)}"
    if expected.dtype.kind in "OSUb":
        wrong = result != expected
    else:
        # Types that are not NumPy's own, as bfloat16, take no part in its arithmetic.
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        a, b = result.astype(wide), expected.astype(wide)
        with np.errstate(all="ignore"):
            wrong = ~np.isclose(a, b, rtol, atol, equal_nan=True)
    if not wrong.any():
        return None
    place = tuple(int(i[0]) for i in np.nonzero(wrong)) if wrong.ndim else ()
    text = f"{int(wrong.sum())} of {wrong.size} values differ"
    if expected.dtype.name in _FRACTION_BITS:
        # A case's tolerance may be finer than the steps of the type that its results are rounded to.
        with np.errstate(divide="ignore"):
            step = np.exp2(np.floor(np.log2(np.abs(b[wrong]))) - _FRACTION_BITS[expected.dtype.name])
        if (np.abs(a - b)[wrong] <= _STEPS * step).all():
            text += f" by up to {_STEPS} steps of {expected.dtype}"
    return f"{text}, first at {list(place)}: {result[place]}, not {expected[place]}"
