"""Instructions of a model's kernels, counted in an emulator, with some schedules in place of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..emulation.emulator import Emulator
from ..emulation.profile import count_classes
from ..frontend.prepare import Model
from ..kernels.rule import Decision
from ..pipeline import Clock, Options, compile_with
from ..process import CommandError
from ..verify.compare import compare
from ..verify.vectors import inputs_of
from .workloads import Workload


class ModelCounter:
    """Counts for one model.

    Args:
        options: of its compilation.
        emulator: of the target.
        workloads: the kernels that are counted.
        folder: for artifacts; private.

    Attributes:
        base: instructions of all calls of each workload in a run of the model as the options say, by key.

    Raises:
        CommandError: the model as it is does not run in the emulator.
    """

    def __init__(
        self, model: Model, options: Options, emulator: Emulator, workloads: Sequence[Workload], folder: Path
    ) -> None:
        self._model, self._emulator, self._path = model, emulator, folder / "model.so"
        self._options = replace(options, out=self._path, verify=False, dump=None, keep_symbols=True)
        self._keys = {name: workload.key for workload in workloads for name in workload.names}
        self.base, self._expected = self._run({})
        if workloads and not any(self.base.values()):
            raise RuntimeError("no kernel was found in what the emulator counted")

    def count(self, decisions: Mapping[str, Decision]) -> dict[str, int] | None:
        """With other schedules of some workloads, by key; None if the model crashes then, or has other results."""
        try:
            counts, results = self._run(decisions)
        except CommandError:
            return None
        return counts if all(compare(results, self._expected, precision=self._options.precision)) else None

    def _run(self, decisions: Mapping[str, Decision]) -> tuple[dict[str, int], dict[str, Any]]:
        options = replace(self._options, decisions={**self._options.decisions, **decisions})
        manifest = compile_with(self._model, options, Clock()).manifest
        ran = self._emulator.measure("edgec", self._path, inputs_of(manifest))
        functions = {name: count_classes(blocks).total() for name, blocks in ran.functions(self._path).items()}
        # Kernels of one program that are called differently, as in place, have functions of their own.
        keys = {kernel["symbol"]: self._keys.get(kernel["name"]) for kernel in manifest["kernels"]}
        counts: Counter[str] = Counter()
        for symbol, key in keys.items():
            if key is not None:
                counts[key] += functions.get(symbol, 0)
        return dict(counts), dict(zip((one["name"] for one in manifest["outputs"]), ran.outputs, strict=True))
