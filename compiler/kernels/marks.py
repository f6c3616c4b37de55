"""Marks that a rule leaves at a loop, for what no schedule primitive can do; worked off when the schedule is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm import tirx


def rewrite_marked(func: Any, mark: str, body: Callable[[Any, Sequence[Any]], Any]) -> Any:
    """A tensor program whose loops with the annotation `mark` have another body, and the mark no more.

    Args:
        body: of the loop and the annotation's values: what the loop repeats instead.
    """

    def on_loop(loop: Any) -> Any:
        if mark not in loop.annotations:
            return loop
        annotations = {key: value for key, value in loop.annotations.items() if key != mark}
        changed = body(loop, loop.annotations[mark])
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, changed, loop.thread_binding, annotations)

    return tvm_ffi.structural_map(func, [(tirx.For, on_loop)])
