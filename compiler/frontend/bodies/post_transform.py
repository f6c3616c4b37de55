"""What classifiers and regressors of ai.onnx.ml do to their scores at the end: the attribute `post_transform`.

onnxruntime is the measure, where the standard is silent: ErfInv of the probit is Winitzki's approximation (2008).
"""

from __future__ import annotations

import math

from .body import Call, Refused

_WINITZKI = 0.147
_PI = 3.14159  # onnxruntime's


def post_transform(call: Call, scores: str, kind: str, columns: int, second: int = -1) -> str:
    """scores [N, columns] float32 -> [N, columns], or [N, 2] of one column that gets a second class.

    Args:
        kind: NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT.
        second: for one column: -1 leaves it alone, as for regressors; 0 and 1 put 1 - score before it, 2 and 3 the
            opposite score: onnxruntime's `add_second_class`, where 2 and 3 stand for weights of both signs.
    """
    if kind not in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"):
        raise Refused(f"its post_transform {kind!r} is none of the standard's")
    if kind == "PROBIT":
        return _probit(call, scores)
    if columns == 1:
        return _second_class(call, scores, kind, second) if second >= 0 else scores
    if kind == "SOFTMAX":
        return call.op("Softmax <axis = -1>", scores)
    if kind == "SOFTMAX_ZERO":
        return _softmax_zero(call, scores)
    return call.op("Sigmoid", scores) if kind == "LOGISTIC" else scores


def _second_class(call: Call, scores: str, kind: str, second: int) -> str:
    """The score of the first class before that of the second; only mixed weights get the logistic function."""
    if second < 2:
        return call.op("Concat <axis = 1>", call.op("Sub", call.number(1), scores), scores)
    both = call.op("Concat <axis = 1>", call.op("Neg", scores), scores)
    return call.op("Sigmoid", both) if kind == "LOGISTIC" else both


def _softmax_zero(call: Call, scores: str) -> str:
    """Softmax in which scores of zero stay (nearly) zero and do not count."""
    most = call.reduce("ReduceMax", scores, [1])
    counts = call.op("Greater", call.op("Abs", scores), call.number(1e-7))
    weights = call.op("Where", counts, call.op("Exp", call.op("Sub", scores, most)), call.number(0))
    rest = call.op("Mul", scores, call.op("Exp", call.op("Neg", most)))
    total = call.op("ReduceSum <keepdims = 1>", weights, call.ints(1))
    return call.op("Div", call.op("Where", counts, weights, rest), total)


def _probit(call: Call, scores: str) -> str:
    """sqrt(2) * ErfInv(2 * score - 1)."""
    x = call.op("Sub", call.op("Mul", scores, call.number(2)), call.number(1))
    one = call.number(1)
    log = call.op("Log", call.op("Mul", call.op("Sub", one, x), call.op("Add", one, x)))
    v = call.op("Add", call.op("Mul", log, call.number(0.5)), call.number(2 / (_PI * _WINITZKI)))
    inside = call.op("Sub", call.op("Mul", v, v), call.op("Mul", log, call.number(1 / _WINITZKI)))
    size = call.op("Sqrt", call.op("Sub", call.op("Sqrt", inside), v))
    size = call.op("Mul", size, call.number(math.sqrt(2)))
    return call.op("Where", call.op("Less", x, call.number(0)), call.op("Neg", size), size)
