"""What is computed element by element joins the convolution before a rearrangement, and changes no result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.raise_elementwise import raise_elementwise
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op
WEIGHTS = floats("w", 24, 4, 3, 3)  # 24 channels are 6 of blocks of 2 by 2
SOURCE = (2, 4, 5, 3)


def vector(name: str, count: int = 6) -> Any:
    return relax.const(np.abs(floats(name, count)) + 0.1)


def column(name: str) -> Any:
    return relax.const(floats(name, 6, 1, 1))


def shuffled(x: Any, crd: bool = False, cut: bool = False) -> Any:
    """Blocks of a convolution's channels; [2, 6, 10, 6], or a part of it."""
    y = op.nn.conv2d(x, relax.const(WEIGHTS), padding=1)
    parts, order = ([2, 6, 2, 2, 5, 3], [0, 1, 4, 2, 5, 3]) if crd else ([2, 2, 2, 6, 5, 3], [0, 3, 4, 1, 5, 2])
    y = op.reshape(op.permute_dims(op.reshape(y, parts), order), [2, 6, 10, 6])
    return op.strided_slice(y, [2, 3], [1, 2], [9, 5]) if cut else y


def normalised(y: Any, training: bool = False) -> Any:
    return op.nn.batch_norm(y, *map(vector, "gbmv"), axis=1, training=training)[0]


def is_before(mod: Any, name: str) -> bool:
    """Whether all calls of an operator get the 24 channels."""
    found = calls(mod, name)
    return bool(found) and all(
        any(len(arg.ty.shape) == 4 and int(arg.ty.shape[1]) == 24 for arg in call.args[:2]) for call in found
    )


def check(body: Callable[[Any], Any], *names: str) -> None:
    before = module([(SOURCE, "float32")], body)
    after = raise_elementwise(before)
    assert all(is_before(after, name) for name in names), after.script()
    assert operators(after)["permute_dims"] == operators(before)["permute_dims"]
    check_equal(before, after, floats("x", *SOURCE))


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("crd", [False, True])
def test_sums_products_and_functions_of_elements_are_raised(crd: bool, cut: bool) -> None:
    def body(x: Any) -> Any:
        y = op.add(shuffled(x, crd, cut), column("bias"))
        y = op.nn.relu(op.multiply(relax.const(0.5), y))
        return op.astype(op.clip(op.round(y), 0.0, 255.0), "uint8")

    check(body, "add", "multiply", "nn.relu", "round", "clip", "astype")


def test_vectors_of_the_channels_are_raised() -> None:
    def body(x: Any) -> Any:
        y = normalised(shuffled(x))
        return op.nn.prelu(y, vector("slope"), 1)

    check(body, "nn.batch_norm", "nn.prelu")


def test_operands_that_are_rearranged_alike_are_raised_together() -> None:
    def body(x: Any) -> Any:
        y = shuffled(x)
        return op.multiply(y, op.sigmoid(y))

    before = module([(SOURCE, "float32")], body)
    after = raise_elementwise(before)
    assert is_before(after, "multiply") and is_before(after, "sigmoid")
    assert operators(after)["permute_dims"] == 1
    check_equal(before, after, floats("x", *SOURCE))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.add(shuffled(x), relax.const(floats("row", 6))),  # not the same for all of a channel
        lambda x: op.add(shuffled(x), relax.const(floats("images", 2, 1, 1, 1))),
        lambda x: op.add(shuffled(x), relax.const(floats("more", 1, 2, 6, 10, 6))),
        lambda x: op.add(shuffled(x), shuffled(x, crd=True)),
        lambda x: op.nn.relu(op.strided_slice(shuffled(x), [2], [0], [9], [2])),
        lambda x: op.nn.relu(op.strided_slice(shuffled(x), [1], [0], [3])),
        lambda x: op.nn.prelu(shuffled(x), vector("slope"), 3),
        lambda x: normalised(shuffled(x), training=True),
        # Rows to channels: a channel of the result is made of several.
        lambda x: op.nn.relu(
            op.reshape(
                op.permute_dims(
                    op.reshape(op.nn.conv2d(x, relax.const(WEIGHTS), padding=1), [2, 24, 5, 3, 1]), [0, 2, 1, 3, 4]
                ),
                [2, 5, 24, 3],
            )
        ),
        lambda x: op.nn.relu(
            op.reshape(op.permute_dims(op.reshape(x, [2, 2, 2, 5, 3]), [0, 2, 1, 3, 4]), [2, 2, 10, 3])
        ),
    ],
)
def test_everything_else_stays(body: Callable[[Any], Any]) -> None:
    before = module([(SOURCE, "float32")], body)
    after = raise_elementwise(before)
    assert [str(call.op) for call in calls(after)] == [str(call.op) for call in calls(before)]
    check_equal(before, after, floats("x", *SOURCE))


def test_few_channels_do_not_fill_vectors() -> None:
    def body(x: Any) -> Any:
        y = op.nn.conv2d(x, relax.const(floats("few", 8, 4, 1, 1)))
        y = op.reshape(op.permute_dims(op.reshape(y, [2, 2, 2, 2, 5, 3]), [0, 3, 4, 1, 5, 2]), [2, 2, 10, 6])
        return op.sigmoid(y)

    before = module([(SOURCE, "float32")], body)
    after = raise_elementwise(before)
    assert int(calls(after, "sigmoid")[0].args[0].ty.shape[1]) == 2
    check_equal(before, after, floats("x", *SOURCE))
