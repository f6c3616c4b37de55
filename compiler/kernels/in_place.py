"""Whether a scheduled program may write its result over one of its arguments."""

from __future__ import annotations

import math
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, tirx

# The attribute of a program whose last parameter, the result, may be the memory of one of these parameters.
IN_PLACE = "edgec.in_place"


def overwritten_argument(func: Any) -> int | None:
    """Which of the parameters that IN_PLACE names a scheduled program can write over; None if none of them."""
    arguments = (func.attrs or {}).get(IN_PLACE, ())
    return next((int(argument) for argument in arguments if writes_in_place(func, int(argument))), None)


def writes_in_place(func: Any, argument: int) -> bool:
    """Whether every element of the result is stored once, and that of the argument read only to compute it.

    Then each is read before it is overwritten, by the statement that overwrites it, however the loops run. What
    cannot be told is answered with no.

    Args:
        func: a scheduled PrimFunc; its last parameter is the result.
        argument: a parameter of the result's shape, type and layout.
    """
    source, result = func.params[argument], func.params[-1]
    stores = _Stores(source, result)
    if not stores.visit(func.body, 1):
        return False
    # All elements are written, so as many stores as elements leave one for each.
    return stores.count == math.prod(int(size) for size in result.ty.shape)


class _Stores:
    def __init__(self, source: Any, result: Any) -> None:
        self.source, self.result = source, result
        self.count = 0

    def visit(self, node: Any, times: int) -> bool:
        """Counts the stores of a statement that runs so many times; whether it follows the rules."""
        if isinstance(node, tirx.SeqStmt):
            return all(self.visit(statement, times) for statement in node)
        if isinstance(node, tirx.For):
            if not isinstance(node.extent, tirx.IntImm):
                return self._is_free(node)
            return self._is_free(node.min) and self.visit(node.body, times * int(node.extent))
        if isinstance(node, s_tir.SBlockRealize):
            block = node.block
            parts = [node.predicate, *node.iter_values, *([] if block.init is None else [block.init])]
            return all(map(self._is_free, parts)) and not block.match_buffers and self.visit(block.body, times)
        if isinstance(node, tirx.IfThenElse):
            branches = [branch for branch in (node.then_case, node.else_case) if branch is not None]
            return self._is_free(node.condition) and all(self.visit(branch, times) for branch in branches)
        if isinstance(node, tirx.AttrStmt):
            return self.visit(node.body, times)
        if isinstance(node, tirx.BufferStore) and node.buffer.same_as(self.result):
            self.count += times
            return self._reads_own_element(node)
        return self._is_free(node)

    def _reads_own_element(self, store: Any) -> bool:
        """Whether the stored value needs of the argument the element that it replaces, and nothing of the result."""
        fine = True

        def on_load(load: Any) -> None:
            nonlocal fine
            if load.source.same_as(self.result):
                fine = False
            elif load.source.same_as(self.source):
                pairs = zip(load.indices, store.indices, strict=True)
                fine = fine and all(tvm_ffi.structural_equal(a, b) for a, b in pairs)

        tvm_ffi.structural_walk(store.value, [(ir.TensorLoad, on_load)])
        return fine and all(map(self._is_free, store.indices))

    def _is_free(self, node: Any) -> bool:
        """Whether a statement or expression has nothing to do with the two."""
        free = True

        def on_access(source: Any) -> None:
            nonlocal free
            free = free and not source.same_as(self.source) and not source.same_as(self.result)

        tvm_ffi.structural_walk(
            node,
            [
                (ir.TensorLoad, lambda load: on_access(load.source)),
                (tirx.BufferStore, lambda store: on_access(store.buffer)),
                (ir.Var, on_access),
            ],
        )
        return free
