"""Sample data for a model: arrays, files of arrays, or a folder of pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import read_array_or_arrays
from ..errors import UserError
from ..frontend.convert import dtype_name
from ..frontend.prepare import Model
from ..frontend.shapes import value_table
from .truth import TRUTH, truth_of

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Source = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any] | Array

_FIX = "give an .npz file with samples by input along the first axis, an .npy file, or a folder of pictures"


class Samples:
    """Feeds for a model, one after another; they can be gone through several times.

    Args:
        count: how many there are.
        make: the feeds of a number from 0 to `count`-1.
        truth: what is known of the samples, by name (see `truth.py`), the feeds along the first axis.
    """

    def __init__(
        self, count: int, make: Callable[[int], Feeds], truth: Mapping[str, Sequence[Any]] | None = None
    ) -> None:
        self._count, self._make, self.truth = count, make, dict(truth or {})

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Feeds]:
        return (self._make(number) for number in range(self._count))

    def take(self, count: int) -> Samples:
        """`count` of them at even distances, or all if there are no more."""
        chosen = np.linspace(0, self._count - 1, min(count, self._count)).round().astype(int).tolist()
        truth = {name: [known[number] for number in chosen] for name, known in self.truth.items()}
        return Samples(len(chosen), lambda number: self._make(chosen[number]), truth)


def load_calibration(source: Source, model: Model) -> Samples:
    """Feeds from sample data, in the shapes and types of the model's inputs.

    Samples lie along the first axis of an array: [n, …] gives n feeds for an input of [1, …], and n / 4 for one of
    [4, …], where a rest is left out.

    Args:
        source: a folder of pictures (see `pictures.py`), a `.npz` file with an array for each input, a `.npy` file for
            the only input; or from Python an array, a mapping from names to arrays, or an iterable of feeds, each a
            mapping or the only input's array.
        model: of fixed shapes.

    Raises:
        UserError: the data cannot be read, or do not fit the inputs.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            from .pictures import load_pictures

            return load_pictures(path, model)
        return _of_stacks(read_array_or_arrays(path, _FIX), model, str(path))
    if isinstance(source, np.ndarray | Mapping):
        return _of_stacks(source, model, "the calibration data")
    feeds = [_check(_named(one, model), model, f"sample {number}") for number, one in enumerate(source)]
    return _not_empty(Samples(len(feeds), feeds.__getitem__), "the calibration data")


def inputs_of(model: Model) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of each input, by name, of a model of fixed shapes."""
    table = value_table(model.proto.graph)
    found = {}
    for value in model.proto.graph.input:
        elem_type, shape = table[value.name]
        assert shape is not None
        found[value.name] = (np.dtype(dtype_name(elem_type)), shape)
    return found


def batch_of(model: Model) -> int:
    """How many samples a feed holds: the first axis of all inputs and outputs, 1 if they have none in common."""
    table = value_table(model.proto.graph)
    return common_first(table[value.name][1] for value in (*model.proto.graph.input, *model.proto.graph.output))


def common_first(shapes: Iterable[Sequence[int] | None]) -> int:
    """The size of the first axis that all shapes share, 1 if they share none."""
    firsts = {shape[0] if shape else 1 for shape in shapes}
    return firsts.pop() if len(firsts) == 1 else 1


def _named(data: Any, model: Model) -> dict[str, Array]:
    """Arrays by name; a single array is for the only input."""
    if isinstance(data, Mapping):
        return {name: np.asarray(array) for name, array in data.items()}
    names = list(inputs_of(model))
    if len(names) != 1:
        what = f"the calibration data are a single array, the model has {len(names)} inputs"
        raise UserError(what, model.name, "give arrays by the names of its inputs")
    return {names[0]: np.asarray(data)}


def _of_stacks(data: Any, model: Model, where: str) -> Samples:
    """Feeds from one array for each input; one that has the input's own shape is the same in every feed."""
    arrays = _named(data, model)
    known = {name: arrays.pop(name) for name in TRUTH if name in arrays and name not in inputs_of(model)}
    _check_names(arrays, model, where)
    counts: dict[str, int] = {}
    for name, (_, shape) in inputs_of(model).items():
        array, batch = arrays[name], shape[0] if shape else 1
        if array.shape == shape:
            continue
        if not shape or array.ndim != len(shape) or array.shape[1:] != shape[1:] or len(array) < batch:
            # samples may also be stacked along an axis of their own
            if array.shape[1:] != shape:
                wanted = f"{['n', *shape[1:]] if shape else ['n']}".replace("'", "")
                what = f"the calibration data have the shape {list(array.shape)}, not {wanted}"
                raise UserError(what, f"{where}: input {name!r}", "stack the samples along the first axis")
            counts[name] = len(array)
        else:
            counts[name] = len(array) // batch
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{count} for {name!r}" for name, count in counts.items())
        raise UserError(f"there are different numbers of samples: {text}", where, "give as many for each input")
    count = next(iter(counts.values()), 1)

    def make(number: int) -> Feeds:
        feeds = {}
        for name, (_, shape) in inputs_of(model).items():
            array = arrays[name]
            if name in counts:
                size = shape[0] if array.ndim == len(shape) else 1
                array = array[number * size : (number + 1) * size].reshape(shape)
            feeds[name] = array
        return _check(feeds, model, where)

    if count:
        make(0)
    return _not_empty(Samples(count, make, truth_of(known, count, batch_of(model), where)), where)


def _check_names(arrays: Mapping[str, Array], model: Model, where: str) -> None:
    wanted = inputs_of(model).keys()
    if arrays.keys() != wanted:
        given, names = (", ".join(map(repr, sorted(found))) or "none" for found in (arrays, wanted))
        raise UserError(f"the calibration data are for {given}, the inputs are {names}", where, _FIX)


def _check(feeds: Mapping[str, Array], model: Model, where: str) -> Feeds:
    """The feeds, contiguous, of the inputs' types; where that would change a value they are refused."""
    _check_names(feeds, model, where)
    checked = {}
    for name, (dtype, shape) in inputs_of(model).items():
        array, label = feeds[name], f"{where}: input {name!r}"
        if array.shape != shape and math.prod(array.shape) == math.prod(shape) and array.shape == shape[1:]:
            array = array.reshape(shape)
        if array.shape != shape:
            what = f"the calibration data have the shape {list(array.shape)}, not {list(shape)}"
            raise UserError(what, label, "give samples as the model gets them")
        if array.dtype != dtype and not (dtype.kind == "f" and array.dtype.kind in "f"):
            what = f"the calibration data are {array.dtype}, not {dtype}"
            raise UserError(what, label, f"save them as numpy.{dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError("the calibration data hold NaN or infinity", label, "leave such samples out")
        checked[name] = np.asarray(array, dtype, order="C")  # scalars stay scalars
    return checked


def _not_empty(samples: Samples, where: str) -> Samples:
    if not len(samples):
        raise UserError("there are no samples in the calibration data", where, _FIX)
    return samples
