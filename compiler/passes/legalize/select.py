"""The first few elements of long axes without sorting: the best ones so far are in a list, which few others enter.

Most elements are compared with the last of the list alone; at worst, where they come in reverse order, with all of it.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import independent, program, serial, whole
from .radix import Order, key_of

LARGEST = 16  # elements of a list


def selected_positions(data: Any, order: Order) -> Any:
    """As `sorted_positions`, for an order of which no more than LARGEST elements are wanted."""
    shape = [order.outer, order.count, order.inner]
    rows = order.outer * order.inner

    def write(source: Any, result: Any) -> None:
        with independent(rows, rows * order.size) as row:
            outer, inner = tirx.floordiv(row, whole(order.inner)), tirx.floormod(row, whole(order.inner))
            keys = T.alloc_buffer((order.count,), order.keys, scope="local")
            places = T.alloc_buffer((order.count,), "int32", scope="local")
            own, worst = (T.alloc_buffer((1,), order.keys, scope="local") for _ in range(2))

            def enter(i: Any, last: Any) -> None:
                """Puts the element into the sorted list, whose last place is free."""
                T.buffer_store(keys, own[0], [last])
                T.buffer_store(places, i.astype("int32"), [last])
                with serial(last) as step:
                    here = last - step
                    with T.If(keys[here - whole(1)] > own[0]), T.Then():
                        T.buffer_store(keys, keys[here - whole(1)], [here])
                        T.buffer_store(places, places[here - whole(1)], [here])
                        T.buffer_store(keys, own[0], [here - whole(1)])
                        T.buffer_store(places, i.astype("int32"), [here - whole(1)])
                T.buffer_store(worst, keys[last], [0])

            with serial(order.count) as i:
                T.buffer_store(own, key_of(source[outer, i, inner], order), [0])
                enter(i, i)
            with serial(order.size - order.count) as rest:
                i = rest + whole(order.count)
                T.buffer_store(own, key_of(source[outer, i, inner], order), [0])
                with T.If(own[0] < worst[0]), T.Then():
                    enter(i, whole(order.count - 1))
            with serial(order.count) as i:
                T.buffer_store(result, places[i], [outer, i, inner])

    return program([data], [shape], ["int32"], write, "select")
