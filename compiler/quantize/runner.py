"""Runs ONNX models on this machine, compiled by edgec itself."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import onnx

from .data import Feeds


class Runner:
    """A model, compiled for this machine; `with Runner(proto) as runner: runner(feeds)` gives all outputs by name.

    Args:
        proto: the model.
        extra: names of further tensors to return.
        threads: None for as many as there are fast cores.

    Raises:
        UserError: it cannot be compiled.
    """

    def __init__(self, proto: onnx.ModelProto, extra: tuple[str, ...] = (), threads: int | None = None) -> None:
        raise NotImplementedError

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
