"""Copies that can be spared are taken apart; those that cost nothing stay fused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import relax

from compiler.passes.views import choose_views
from compiler.pipeline import compile_model
from tests.kernels.grid import Case, combine, failures, reference
from tests.passes.networks import Network, dense, fire, halves, inception, pyramid, residual
from tests.passes.relax_modules import calls, check_equal, module
from tests.passes.test_phases import lower, relax_of

OP = relax.op
BLOCKS = [fire, inception, pyramid, dense, residual, halves]


def kernels(case: Case, folder: Path) -> Counter[str]:
    """How often the artifact of a case calls the kernels that only copy, by what their names begin with."""
    proto, _arrays = combine([case], [reference(case)])
    table = compile_model(proto, "host", folder / "a.so", verify=False).manifest["kernels"]
    kinds = ("border", "paste", "cut", "pad", "concatenate", "strided_slice", "split")
    counts: Counter[str] = Counter()
    for kernel in table:
        for kind in kinds:
            if kernel["name"].startswith((kind, f"fused_{kind}")):
                counts[kind] += kernel["calls"]
    return counts


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_blocks_of_networks_copy_nothing(block: Callable[[], Case], tmp_path: Path) -> None:
    left = kernels(block(), tmp_path)
    assert left.pop("border", 0) >= (block is not pyramid)
    # What is padded and also a part of a concatenation has two places, of which one gets a copy.
    assert left == ({"pad": 1, "paste": 1} if block is halves else {})


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_each_step_keeps_the_results(block: Callable[[], Case]) -> None:
    case = block()
    before = lower(relax_of(case), "patterns")
    after = choose_views(before)
    assert len(calls(after)) > len(calls(before)), "something was chosen"
    check_equal(before, after, *case.inputs.values(), tolerance=0)


def emit(expr: Any) -> Any:
    return relax.BlockBuilder.current().emit(expr)


def product(x: Any, w: Any) -> Any:
    return emit(OP.matmul(x, w))


def part(x: Any, begin: int, end: int) -> Any:
    return emit(OP.strided_slice(x, [0], [begin], [end]))


def pad(x: Any) -> Any:
    return emit(OP.nn.pad(x, [1, 1, 0, 0]))


# What is made of the copies in a body of two matrices, and the body; products stand for all kernels that sum.
CHOICES: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "products": ("paste paste", lambda x, w: product(emit(OP.concat([product(x, w), product(w, x)], 0)), w)),
    "product and input": ("paste paste", lambda x, w: product(emit(OP.concat([product(x, w), w], 0)), w)),
    "reshaped": ("paste paste", lambda x, w: OP.concat([emit(OP.reshape(product(y, w), (2, 8))) for y in (x, w)], 0)),
    "padded product": ("border paste", lambda x, w: product(pad(product(x, w)), w)),
    "padded epilogue": ("border paste", lambda x, w: product(pad(emit(OP.exp(emit(OP.add(product(x, w), w))))), w)),
    "padded and read": ("border paste", lambda x, w: product(pad(y := emit(OP.exp(x))), y)),
    "part": ("cut", lambda x, w: product(part(x, 1, 3), w)),
    "part read twice": ("cut", lambda x, w: OP.add(product(p := part(x, 1, 2), w), p)),
    "inputs": ("", lambda x, w: product(emit(OP.concat([x, w], 0)), w)),
    "padded input": ("", lambda x, w: product(pad(x), w)),
    "arithmetic padded": ("", lambda x, w: product(pad(emit(OP.exp(x))), w)),
    "arithmetic joined": ("", lambda x, w: product(emit(OP.concat([emit(OP.exp(x)), w], 0)), w)),
    "arithmetic of products": ("", lambda x, w: OP.exp(emit(OP.concat([product(x, w), product(w, x)], 1)))),
    "arithmetic of a part": ("", lambda x, w: OP.exp(part(product(x, w), 0, 2))),
    "part of arithmetic": ("", lambda x, w: product(part(emit(OP.exp(x)), 0, 2), w)),
    "padded result": ("", lambda x, w: relax.Tuple([y := product(x, w), product(pad(y), w)])),
    "part as a result": ("", lambda x, w: part(product(x, w), 0, 2)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_copies_are_chosen_where_they_can_be_spared(name: str) -> None:
    expected, body = CHOICES[name]
    matrix = ((4, 4), "float32")
    before = lower(module([matrix, matrix], body), "patterns")
    after = choose_views(before)
    made = [call.args[0].name_hint.rstrip("0123456789") for call in calls(after) if call.op.name != "relax.reshape"]
    assert " ".join(kind for kind in made if kind in ("border", "paste", "cut")) == expected
    arrays = [np.random.default_rng(n).standard_normal((4, 4)).astype(np.float32) for n in range(2)]
    check_equal(before, after, *arrays, tolerance=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_networks_equal_the_reference(threads: int, tmp_path: Path) -> None:
    lines = failures([block() for block in BLOCKS], "host", tmp_path, threads)
    assert not lines, "\n".join(lines)


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Convolutions, element-wise operators, moves and copies in any order, with several readers and results."""
    shape = draw(st.sampled_from([(1, 4, 6, 6), (2, 16, 4, 5), (1, 3, 5, 4)]))
    net = Network(f"random{draw(st.integers(0, 1 << 30))}", *shape)
    values = ["x"]
    for _ in range(draw(st.integers(3, 12))):
        x = draw(st.sampled_from(values[-3:] + values[:2]))
        n, channels, height, width = net.shapes[x]
        kind = draw(
            st.sampled_from(["conv", "conv", "concat", "concat", "split", "pad", "unary", "binary", "row", "shuffle"])
        )
        if n * channels * height * width > 20_000 or min(height, width) < 2:
            continue
        alike = [v for v in values if net.shapes[v] == net.shapes[x]]
        if kind == "conv":
            values.append(
                net.conv(x, draw(st.sampled_from([3, 8, 16])), draw(st.sampled_from([1, 3])), relu=draw(st.booleans()))
            )
        elif kind == "concat":
            axis = draw(st.sampled_from([1, 1, 1, 2, 3]))
            fits = [v for v in values if _fit(net.shapes[v], net.shapes[x], axis)]
            values.append(net.concat(x, *draw(st.lists(st.sampled_from(fits), min_size=1, max_size=3)), axis=axis))
        elif kind == "split":
            first = draw(st.integers(1, channels))
            values += net.split(x, first, channels - first) if first < channels else []
        elif kind == "pad":
            values.append(net.pad(x, *draw(st.tuples(*[st.integers(0, 2)] * 4))))
        elif kind == "unary":
            values.append(net.add(draw(st.sampled_from(["Relu", "Sigmoid", "Neg"])), [x], net.shapes[x])[0])
        elif kind == "binary":
            values.append(net.join(draw(st.sampled_from(["Add", "Mul"])), x, draw(st.sampled_from(alike))))
        elif kind == "row":
            op, attributes = draw(st.sampled_from([("Softmax", {"axis": 1}), ("Softmax", {"axis": 3}), ("pool", {})]))
            values.append(net.add(op, [x], net.shapes[x], **attributes)[0] if attributes else net.pool(x))
        elif channels % 2 == 0:
            values.append(net.shuffle(x))
    results = draw(st.lists(st.sampled_from(values[1:] or values), min_size=1, max_size=3, unique=True))
    return net.case(*dict.fromkeys([*results, values[-1]]))


def _fit(a: tuple[int, ...], b: tuple[int, ...], axis: int) -> bool:
    return all(x == y for i, (x, y) in enumerate(zip(a, b, strict=True)) if i != axis)


@settings(max_examples=4, derandomize=True, suppress_health_check=list(HealthCheck), deadline=None)
@given(cases=st.lists(networks().filter(lambda case: case.nodes), min_size=6, max_size=6))
def test_random_networks_equal_the_reference(tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> None:
    folder: Path = tmp_path_factory.mktemp("networks")
    for threads in (1, 2):
        lines = failures(cases, "host", folder, threads)
        assert not lines, "\n".join(lines)
