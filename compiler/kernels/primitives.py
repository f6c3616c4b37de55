"""Schedule primitives as rules call them."""

from __future__ import annotations

from typing import Any

from tvm import s_tir


class Schedule(s_tir.Schedule):  # type: ignore[misc]
    """TVM's schedule of a program, whose Python methods don't compare arguments with annotations at each call.

    That takes a quarter of the time of scheduling; TVM's own functions below refuse wrong types as well.
    """

    def __init__(self, func: Any) -> None:
        super().__init__(func, debug_mask="none")


for _name, _method in vars(s_tir.Schedule).items():
    if _name != "__init__" and hasattr(_method, "__wrapped__"):
        setattr(Schedule, _name, _method.__wrapped__)
