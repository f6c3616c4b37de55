"""Runs ONNX models on this machine, compiled by edgec itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx

from ..frontend.shapes import value_table
from ..pipeline import compile_model
from ..runtime.loader import Model as Loaded
from .data import Feeds


class Runner:
    """A model, compiled for this machine: `with Runner(proto) as runner: runner(feeds)` gives its outputs by name.

    Args:
        proto: the model, of fixed shapes, with the types and shapes of its tensors where `extra` names some.
        extra: further tensors to return.
        threads: None for as many as there are fast cores.
        cache: of compiled kernels, see `pipeline.compile_model`.

    Raises:
        UserError: it cannot be compiled.
    """

    def __init__(
        self, proto: onnx.ModelProto, extra: Iterable[str] = (), threads: int | None = None, cache: bool = True
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgec-quantize-")
        try:
            path = Path(self._folder.name) / "model.so"
            compile_model(_returning(proto, extra), "host", path, verify=False, cache=cache)
            self._model = Loaded(path, threads)
        except BaseException:
            self._folder.cleanup()
            raise

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        return self._model.run(feeds)

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model.close()
        self._folder.cleanup()


def _returning(proto: onnx.ModelProto, extra: Iterable[str]) -> onnx.ModelProto:
    """The model with further tensors among its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    table, known = value_table(copy.graph), {value.name for value in copy.graph.output}
    for name in dict.fromkeys(extra):
        if name not in known:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, *table[name]))
    return copy
