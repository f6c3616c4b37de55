"""Names for TVM: its importer takes few characters for safe, and demands that nodes have names of their own."""

from __future__ import annotations

import onnx


def rename_for_tvm(graph: onnx.GraphProto) -> None:
    """Renames inputs to `in0`, …, and values to `v0`, …; nodes keep their names where those are unique."""
    names: dict[str, str] = {"": ""}
    for index, value in enumerate(graph.input):
        names[value.name] = f"in{index}"
    for name in [*(t.name for t in graph.initializer), *(o for node in graph.node for o in node.output)]:
        names.setdefault(name, f"v{len(names)}")
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        label = node.name or next(filter(None, node.output), "node")
        node.name = label if label not in taken else f"{label}#{index}"
        while node.name in taken:
            node.name += "'"
        taken.add(node.name)
        node.input[:] = [names[name] for name in node.input]
        outputs = [names[name] for name in node.output]
        while len(outputs) > 1 and not outputs[-1]:
            outputs.pop()
        node.output[:] = outputs
