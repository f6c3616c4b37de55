"""Operators of training that are plain arithmetic: the optimisers of the preview domain, statistics of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import TensorProto

from .composer import Composer

_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def batch_normalization(to: Composer) -> Sequence[str] | None:
    """In training mode: x [n, c, …], scale, bias, mean, variance [c] → the result, the running mean and variance.

    The batch's own mean and variance normalise it; those of 16 bits are computed in 32, as the standard wants.
    """
    if not to.attributes.get("training_mode"):
        return None
    x, scale, bias, *running = to.node.input
    (dtype, shape), kept = to.type(x), to.type(running[0])[0]
    if shape is None or not kept:
        return None
    wide = TensorProto.FLOAT if dtype in _NARROW else dtype
    axes = to.constant([axis for axis in range(len(shape)) if axis != 1], TensorProto.INT64)
    count = to.constant(max(_product(shape) // max(shape[1], 1), 1), wide)

    def mean(value: str) -> str:
        return to("Div", to("ReduceSum", value, axes, keepdims=1), count)

    def column(value: str) -> str:
        form = to.constant([-1, *[1] * (len(shape) - 2)], TensorProto.INT64)
        return to("Reshape", to("Cast", value, to=wide), form)

    x = to("Cast", x, to=wide)
    center = mean(x)
    away = to("Sub", x, center)
    spread = mean(to("Mul", away, away))
    epsilon = to.constant(to.attributes["epsilon"], wide)
    scaled = to("Mul", to("Div", away, to("Sqrt", to("Add", spread, epsilon))), column(scale))
    results = [to("Cast", to("Add", scaled, column(bias)), to=dtype)]
    share = to.attributes["momentum"]
    flat = to.constant([-1], TensorProto.INT64)
    for before, now in zip(running, (center, spread), strict=True):
        old = to("Mul", before, to.constant(share, kept))
        new = to("Mul", to("Cast", to("Reshape", now, flat), to=kept), to.constant(1 - share, kept))
        results.append(to("Add", old, new))
    return results


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


# One step for one tensor, from its rate, the count of steps before, the tensor, its gradient and what the optimiser
# keeps of it; returns the tensor and what is kept.
Step = Callable[[Composer, str, str, str, str, Sequence[str]], list[str]]


def _optimiser(to: Composer, kept: int, step: Step) -> Sequence[str] | None:
    """Inputs are the rate, the count, the tensors, their gradients, then the tensors' kept values kind by kind."""
    rate, count, *rest = to.node.input
    groups = 2 + kept
    tensors = len(rest) // groups
    made = []
    for number in range(tensors):
        x, gradient, *state = rest[number::tensors]
        dtype = to.type(x)[0]
        if not dtype:
            return None
        made.append(step(to, to("Cast", rate, to=dtype), count, x, gradient, state))
    return [results[kind] for kind in range(groups - 1) for results in made]


def _number(to: Composer, x: str, name: str) -> str:
    """An attribute as a constant of a tensor's type."""
    return to.constant(to.attributes.get(name, 0.0), to.type(x)[0])


def _regularised(to: Composer, x: str, gradient: str) -> str:
    return to("Add", to("Mul", _number(to, x, "norm_coefficient"), x), gradient)


def _steps(to: Composer, count: str, x: str) -> tuple[str, str]:
    """The count in the tensor's type, and whether it is above zero."""
    return to("Cast", count, to=to.type(x)[0]), to("Greater", count, to.constant(0, TensorProto.INT64))


def adagrad(to: Composer) -> Sequence[str] | None:
    """Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 12, 2011, as the standard writes it."""

    def step(to: Composer, rate: str, count: str, x: str, gradient: str, state: Sequence[str]) -> list[str]:
        (squares,) = state
        one = to.constant(1, to.type(x)[0])
        decayed = to("Add", one, to("Mul", _steps(to, count, x)[0], _number(to, x, "decay_factor")))
        gradient = _regularised(to, x, gradient)
        squares = to("Add", squares, to("Mul", gradient, gradient))
        root = to("Add", to("Sqrt", squares), _number(to, x, "epsilon"))
        return [to("Sub", x, to("Div", to("Mul", to("Div", rate, decayed), gradient), root)), squares]

    return _optimiser(to, 1, step)


def adam(to: Composer) -> Sequence[str] | None:
    """Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, as the standard writes it."""

    def mixed(old: str, new: str, name: str, one: str, x: str) -> str:
        share = _number(to, x, name)
        return to("Add", to("Mul", share, old), to("Mul", to("Sub", one, share), new))

    def step(to: Composer, rate: str, count: str, x: str, gradient: str, state: Sequence[str]) -> list[str]:
        means, squares = state
        one = to.constant(1, to.type(x)[0])
        gradient = _regularised(to, x, gradient)
        means = mixed(means, gradient, "alpha", one, x)
        squares = mixed(squares, to("Mul", gradient, gradient), "beta", one, x)
        root = to("Add", to("Sqrt", squares), _number(to, x, "epsilon"))
        steps, begun = _steps(to, count, x)
        lacking = {name: to("Sub", one, to("Pow", _number(to, x, name), steps)) for name in ("alpha", "beta")}
        corrected = to("Div", to("Mul", rate, to("Sqrt", lacking["beta"])), lacking["alpha"])
        rate = to("Where", begun, corrected, rate)
        made = to("Sub", x, to("Mul", rate, to("Div", means, root)))
        after = to("Sub", one, _number(to, x, "norm_coefficient_post"))
        return [to("Mul", after, made), means, squares]

    return _optimiser(to, 2, step)


def momentum(to: Composer) -> Sequence[str] | None:
    """Gradient descent with momentum, of the standard kind or Nesterov's."""

    def step(to: Composer, rate: str, count: str, x: str, gradient: str, state: Sequence[str]) -> list[str]:
        (velocity,) = state
        one, alpha = to.constant(1, to.type(x)[0]), _number(to, x, "alpha")
        gradient = _regularised(to, x, gradient)
        share = to("Where", _steps(to, count, x)[1], _number(to, x, "beta"), one)
        velocity = to("Add", to("Mul", alpha, velocity), to("Mul", share, gradient))
        way = velocity
        if to.attributes["mode"] == b"nesterov":
            way = to("Add", gradient, to("Mul", alpha, velocity))
        return [to("Sub", x, to("Mul", rate, way)), velocity]

    return _optimiser(to, 1, step)
