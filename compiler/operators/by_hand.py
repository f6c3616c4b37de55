"""What programs written by hand share: a tensor as [outer, axis, inner], and loops whose iterations are independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from ..kernels.written import INDEPENDENT, SCALAR


def around(shape: Sequence[Any], axis: int) -> list[int]:
    """The sizes before, of and after an axis, those before and after taken as one each."""
    sizes = [int(size) for size in shape]
    return [math.prod(sizes[:axis]), sizes[axis], math.prod(sizes[axis + 1 :])]


def reshaped(builder: relax.BlockBuilder, data: Any, shape: Sequence[int]) -> Any:
    return builder.emit(relax.op.reshape(data, list(shape)))


def program(
    inputs: Sequence[Any], shapes: Sequence[Sequence[int]], dtypes: Sequence[str], body: Callable[..., None], name: str
) -> Any:
    """The tensors that `body` writes.

    Args:
        body: gets the buffers of the inputs, then those of the results; writes to the IR builder that is open.
    """

    def build(ins: Any, outs: Any) -> Any:
        with IRBuilder() as made:
            with T.seq_scope():
                body(*ins, *outs)
            return made.get().body  # without the attribute that marks the scope

    sizes = [[tirx.IntImm("int64", size) for size in shape] for shape in shapes]
    return te.extern(sizes, list(inputs), build, dtype=list(dtypes), name=name)


def independent(extent: int, work: int, scalar: bool = False) -> Any:
    """A loop that threads may share; `work` steps in all.

    Args:
        scalar: what is written as scalars shall not become vectors, as steps of chains of loads do at a loss.
    """
    return T.serial(whole(0), whole(extent), annotations={INDEPENDENT: work} | ({SCALAR: 1} if scalar else {}))


def serial(extent: Any) -> Any:
    return T.serial(whole(0), whole(extent) if isinstance(extent, int) else extent)


def whole(value: int) -> Any:
    return tirx.IntImm("int64", value)
