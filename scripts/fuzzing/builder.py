"""Graphs that grow node by node, with the values of all that is in them.

Every node is run as soon as it is drawn, three times: on the true values, and on values that are a little too large and
too small, as another order of rounding may make them. A node whose results tell these apart by much, that overflows or
that makes infinities is not taken. So each graph is one that every correct runtime computes alike, and how far its
results may be off is known. 16-bit floats are widened for this and results rounded: references do not agree on where
to round in between.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.frontend.shapes import static_shape
from compiler.verify.reference import ReferenceError, run_reference

Array = np.ndarray[Any, Any]

NARROW = ("float16", "bfloat16")
FLOATS = ("float32", "float64", *NARROW)
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = (*SIGNED, *UNSIGNED)
NUMBERS = (*FLOATS, *INTEGERS)
ALL = (*NUMBERS, "bool")
# What a value may be wrong by, relative to the largest of its tensor: more than roundings make.
NOISE = {"float32": 2e-5, "float64": 2e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
_AMPLIFIED = 64  # by how much a node's results may be further apart than that
_LARGEST = {"float32": 1e4, "float64": 1e4, "float16": 500.0, "bfloat16": 1e4}
MOST_ELEMENTS = 3000
_SIZES = (1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 11, 13, 16, 17)
_IR_VERSION = 10

# What a node computes of its inputs, by name.
Run = Callable[[onnx.NodeProto, dict[str, Array]], dict[str, Array]]
_Types = dict[str, tuple[int, tuple[int, ...] | None]]  # of elements (0 if unknown), and the shape


class Unfit(Exception):
    """The operator cannot be drawn here."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes:
        runs: its values in the three runs.
        counted: its size depends on the data.
        constant: it is an initializer.
    """

    name: str
    runs: tuple[Array, Array, Array]
    counted: bool = False
    constant: bool = False

    @property
    def array(self) -> Array:
        return self.runs[0]

    @property
    def dtype(self) -> str:
        return self.array.dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def rank(self) -> int:
        return self.array.ndim


class Builder:
    """A graph under construction; `rng` decides everything."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.noise = np.random.default_rng(rng.getrandbits(32))
        self.pool: list[Value] = []
        self.inputs: list[Value] = []
        self.constants: list[Value] = []
        self.nodes: list[onnx.NodeProto] = []
        self.main = rng.choices(FLOATS, (12, 1, 2, 2))[0]
        # Many operators take bfloat16 only since 22.
        self.opset = 22 if self.main == "bfloat16" and self.chance(0.7) else rng.choice((18, 19, 20, 21, 22))
        self._count = 0

    # What is drawn

    def name(self, prefix: str = "v") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def size(self) -> int:
        return 0 if self.chance(0.01) else self.rng.choice(_SIZES)

    def shape(self, least: int = 0, most: int = 5) -> tuple[int, ...]:
        weights = (1, 3, 5, 5, 4, 1)[least : most + 1]
        rank = self.rng.choices(range(least, most + 1), weights)[0]
        while True:
            shape = tuple(self.size() for _ in range(rank))
            if int(np.prod(shape)) <= MOST_ELEMENTS:
                return shape

    def array(self, shape: Sequence[int], dtype: str, low: float = -2.0, high: float = 2.0) -> Array:
        if dtype == "bool":
            return self.noise.random(tuple(shape)) < 0.5
        if dtype in FLOATS:
            return np.asarray(self.noise.uniform(low, high, tuple(shape)).astype(dtype))
        low = max(low, 0) if dtype in UNSIGNED else low
        return np.asarray(self.noise.integers(int(low), int(high) + 1, tuple(shape)).astype(dtype))

    def given(self, array: Array, constant: bool | None = None) -> Value:
        """A new input or initializer with this content."""
        constant = self.chance(0.5) if constant is None else constant
        value = Value(self.name("c" if constant else "x"), (array, array, array), constant=constant)
        (self.constants if constant else self.inputs).append(value)
        return value

    def integers(self, *values: int) -> Value:
        return self.given(np.array(values, np.int64), constant=True)

    def scalar(self, value: int) -> Value:
        return self.given(np.array(value, np.int64), constant=True)

    def new(self, dtypes: Sequence[str], least: int = 0, most: int = 5) -> Value:
        dtype = self.main if self.main in dtypes and self.chance(0.8) else self.rng.choice(dtypes)
        high = 5.0 if dtype not in FLOATS else 2.0
        value = self.given(self.array(self.shape(least, most), dtype, -high, high), constant=False)
        self.pool.append(value)
        return value

    def pick(
        self,
        dtypes: Sequence[str] = ALL,
        least: int = 0,
        most: int = 5,
        accept: Callable[[Value], bool] = lambda value: True,
        counted: bool = False,
    ) -> Value:
        """A value of the graph, rather one of the last, or a new input."""
        fitting = [
            value
            for value in self.pool
            if value.dtype in dtypes
            and least <= value.rank <= most
            and (counted or not value.counted)
            and accept(value)
        ]
        if fitting and self.chance(0.85):
            return fitting[-1 - min(int(self.rng.expovariate(0.7)), len(fitting) - 1)]
        for _ in range(4):
            value = self.new(dtypes, least, most)
            if accept(value):
                return value
            self.pool.remove(value)
            self.inputs.remove(value)
        if fitting:
            return self.rng.choice(fitting)
        raise Unfit

    def beside(self, value: Value, low: float = -2.0, high: float = 2.0, dtype: str | None = None) -> Value:
        """A value that broadcasts with another one to a result of bounded size."""
        dtype = dtype or value.dtype
        others = [
            other for other in self.pool
            if other.dtype == dtype and not other.counted and _broadcasts(other.shape, value.shape)
            and (other.array.size == 0 or (other.array.min() >= low and other.array.max() <= high))
        ]  # fmt: skip
        if others and self.chance(0.6):
            return self.rng.choice(others)
        shape = list(value.shape)[self.rng.choice((0, 0, 0, 1, 2)) :]
        shape = [1 if self.chance(0.25) else size for size in shape]
        if dtype not in FLOATS and dtype != "bool":
            low, high = max(low, -5.0), max(high, low + 1, 1.0)
        return self.given(self.array(shape, dtype, low, high))

    def axis(self, value: Value, accept: Callable[[int], bool] = lambda size: True) -> int:
        """An axis, counted from either end."""
        fitting = [axis for axis, size in enumerate(value.shape) if accept(size)]
        if not fitting:
            raise Unfit
        axis = self.rng.choice(fitting)
        return axis - value.rank if self.chance(0.4) else axis

    # What is added

    def add(
        self, operator: str, *inputs: Value | None, outputs: int = 1, counted: bool = False, exact: bool = False,
        keep: bool = True, run: Run | None = None, left_out: Collection[int] = (), **attributes: Any,
    ) -> list[Value]:  # fmt: skip
        """A node and its results.

        Args:
            counted: sizes of its results depend on the data.
            exact: it only moves values.
            keep: later nodes may read the results.
            run: computes the results, in place of the references.
            left_out: numbers of results that the node does not have.

        Raises:
            Unfit: no reference runs it, or its results are not the same everywhere.
        """
        names = ["" if i in left_out else self.name() for i in range(outputs)]
        given = [value.name if value else "" for value in inputs]
        attributes = {name: value for name, value in attributes.items() if value is not None}
        node = helper.make_node(operator, given, names, **attributes)
        read = {value.name: value for value in [*inputs, *self._captured(node)] if value}
        types = self._check(node, read)
        runs = [_run(run or self.reference, node, {n: v.runs[i] for n, v in read.items()}, types) for i in range(3)]
        made = []
        for name in filter(None, names):
            if types[name][1] not in (None, runs[0][name].shape):
                raise Unfit  # onnxruntime reduces axes of size 0 to themselves
            results = _stable(tuple(run[name] for run in runs), exact, self.noise)
            made.append(Value(name, results, counted or any(value.counted for value in read.values())))
        self.nodes.append(node)
        if keep:
            self.pool += made
        return made

    def _captured(self, node: onnx.NodeProto) -> list[Value]:
        inner = {
            name for attribute in node.attribute if attribute.HasField("g")
            for part in attribute.g.node for name in part.input
        }  # fmt: skip
        return [value for value in {v.name: v for v in [*self.pool, *self.constants]}.values() if value.name in inner]

    def _check(self, node: onnx.NodeProto, read: dict[str, Value]) -> _Types:
        """Of the results, where the standard says them, for types that it allows; references take others too."""
        model = self._model([node], [_info(name, value.array) for name, value in read.items()], node.output)
        model.graph.initializer.extend(
            numpy_helper.from_array(value.array, name) for name, value in read.items() if value.constant
        )
        try:
            model = onnx.shape_inference.infer_shapes(model, True, True)
        except Exception as error:  # of many kinds
            raise Unfit(str(error)) from error
        return {value.name: (value.type.tensor_type.elem_type, static_shape(value)) for value in model.graph.output}

    def reference(self, node: onnx.NodeProto, values: dict[str, Array], only: str = "") -> dict[str, Array]:
        """The results of a node by name, of the reference called `only` if that is given."""
        model = self._model([node], [_info(name, array) for name, array in values.items()], node.output)
        try:
            label, results = run_reference(model, values)
        except ReferenceError as error:
            raise Unfit(str(error)) from error
        if only not in label:
            raise Unfit(f"{label} ran it")
        return results

    def _model(self, nodes: list[onnx.NodeProto], inputs: list[Any], outputs: Iterable[str]) -> onnx.ModelProto:
        results = [onnx.ValueInfoProto(name=name) for name in outputs if name]
        graph = helper.make_graph(nodes, "fuzz", inputs, results)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=_IR_VERSION)

    def model(self) -> tuple[onnx.ModelProto, list[Value], list[Value]]:
        """The graph, its inputs and its outputs: all that no node reads, and some others."""
        read = {name for node in self.nodes for name in node.input}
        for node in self.nodes:
            read |= {value.name for value in self._captured(node)}
        inputs = [value for value in self.inputs if value.name in read]
        made = {name for node in self.nodes for name in node.output}
        values = [value for value in self.pool if value.name in made]
        outputs = [value for value in values if value.name not in read or self.chance(0.1)]
        model = self._model(self.nodes, [_info(value.name, value.array) for value in inputs], [])
        for value in outputs:
            info = _info(value.name, value.array)
            if value.counted:
                info.type.tensor_type.ClearField("shape")
                for axis in range(value.rank):
                    info.type.tensor_type.shape.dim.add(dim_param=f"{value.name}_{axis}")
            model.graph.output.append(info)
        model.graph.initializer.extend(
            numpy_helper.from_array(value.array, value.name) for value in self.constants if value.name in read
        )
        return model, inputs, outputs


def _run(run: Run, node: onnx.NodeProto, values: dict[str, Array], types: _Types) -> dict[str, Array]:
    """The results of a node, computed in 32 bits where they or what it reads have 16; not in the graphs inside it."""
    if not any(attribute.HasField("g") for attribute in node.attribute):
        values = {name: v.astype("float32") if v.dtype.name in NARROW else v for name, v in values.items()}
    results = run(node, values)
    dtypes = {name: helper.tensor_dtype_to_np_dtype(elem_type) for name, (elem_type, _) in types.items() if elem_type}
    with np.errstate(over="ignore"):  # an infinity is Unfit
        return {
            name: array.astype(dtypes[name]) if getattr(dtypes.get(name), "name", "") in NARROW else array
            for name, array in results.items()
        }


def _info(name: str, array: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(shape, other))) <= MOST_ELEMENTS
    except ValueError:
        return False


def _stable(runs: tuple[Array, ...], exact: bool, noise: np.random.Generator) -> tuple[Array, Array, Array]:
    """The results of the three runs, with the noise of the node itself on the second and the third."""
    clean, high, low = runs
    if clean.dtype.name not in ALL or clean.size > 4 * MOST_ELEMENTS or clean.ndim > 6:
        raise Unfit
    if not clean.shape == high.shape == low.shape:
        raise Unfit
    if clean.dtype.name not in FLOATS:
        if not (np.array_equal(clean, high) and np.array_equal(clean, low)):
            raise Unfit
        if clean.size and clean.dtype.kind in "iu":
            limit = np.iinfo(clean.dtype).max // 2
            # Overflow is no mistake, but undefined.
            if clean.max() > limit or (clean.dtype.kind == "i" and clean.min() < -limit):
                raise Unfit
        return clean, high, low
    if not clean.size:
        return clean, high, low
    if not all(np.isfinite(run).all() for run in runs) or np.abs(clean).max() > _LARGEST[clean.dtype.name]:
        raise Unfit
    step = NOISE[clean.dtype.name] * max(float(np.abs(clean).max()), 1e-6)
    if spread_of(runs) > _AMPLIFIED * step:
        raise Unfit
    if not exact:
        shift = (step * noise.uniform(0.3, 1, clean.shape)).astype(clean.dtype)
        high, low = np.asarray(high + shift), np.asarray(low - shift)
    return clean, high, low


def spread_of(runs: Sequence[Array]) -> float:
    """How far the runs are apart at most."""
    clean = runs[0].astype(np.float64)
    return max(float(np.abs(run.astype(np.float64) - clean).max(initial=0.0)) for run in runs[1:])
