"""Runs ONNX models on this machine, compiled by edgec itself.

A quantisation compiles a handful of models only to run them, and the next one of the same model compiles most of them
again: so the cache keeps them whole.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx

from ..build.cache import Cache, digest_of_files
from ..frontend.shapes import value_table
from ..pipeline import compile_model
from ..runtime.loader import Model as Loaded
from ..target import load_target
from ..versions import EDGEC, TVM, TVM_FFI, llvm_version
from .data import Feeds

_MOST_KEPT = 64 << 20  # bytes of a model


class Runner:
    """A model, compiled for this machine: `with Runner(proto) as runner: runner(feeds)` gives its outputs by name.

    Args:
        proto: the model, of fixed shapes, with the types and shapes of its tensors where `extra` names some.
        extra: further tensors to return.
        threads: None for as many as there are fast cores.
        cache: of compiled kernels, see `pipeline.compile_model`, and of models that are not large.

    Raises:
        UserError: it cannot be compiled.
    """

    def __init__(
        self, proto: onnx.ModelProto, extra: Iterable[str] = (), threads: int | None = None, cache: bool = True
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgec-quantize-")
        try:
            path = Path(self._folder.name) / "model.so"
            _compile(_returning(proto, extra), path, cache)
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


def _compile(proto: onnx.ModelProto, path: Path, cached: bool) -> None:
    """Compiles a model for this machine, or takes what was compiled before."""
    if not cached or proto.ByteSize() > _MOST_KEPT:
        compile_model(proto, "host", path, verify=False, cache=cached)
        return
    from ..tune.logs import verdicts_for  # which brings TVM

    cache = Cache()
    host = load_target("host")
    versions = (EDGEC, TVM, TVM_FFI, llvm_version())
    facts = (_sources(), *versions, host.tvm_target(), host.fingerprint, verdicts_for(host))
    key = hashlib.sha256(repr(facts).encode() + proto.SerializeToString(deterministic=True)).hexdigest()
    data = cache.load(key)
    if data is not None:
        path.write_bytes(data)
        return
    compile_model(proto, host, path, verify=False)
    cache.store(key, path.read_bytes())
    cache.trim()


@functools.cache
def _sources() -> str:
    """A digest of all of our own code."""
    package = Path(__file__).resolve().parent.parent
    return digest_of_files((path for ending in ("py", "c", "h") for path in package.rglob(f"*.{ending}")), package)


def _returning(proto: onnx.ModelProto, extra: Iterable[str]) -> onnx.ModelProto:
    """The model with further tensors among its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    table, known = value_table(copy.graph), {value.name for value in copy.graph.output}
    for name in dict.fromkeys(extra):
        if name not in known:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, *table[name]))
    return copy
