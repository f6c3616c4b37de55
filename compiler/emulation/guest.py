"""Runs in the emulated machine: one inference of a model in a window that blocks.c counts.

    guest.py edgec|onnxruntime MODEL RUNS      in a folder with in.npz; writes out.npz there, prints its memory map

Arrays travel by number, since names may hold anything; names.json has the inputs' names.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import numpy as np

MARKER = 0x5150


def mark(begins: bool) -> None:
    ctypes.CDLL(None).syscall(MARKER, int(begins))


def main() -> None:
    runtime, path, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open("names.json") as file:
        names = json.load(file)
    with np.load("in.npz") as archive:
        inputs = {name: archive[f"a{i}"] for i, name in enumerate(names)}
    if runtime == "edgec":
        from loader import Model  # type: ignore[import-not-found]

        model = Model(path, threads=1)

        def run() -> list[Any]:
            return list(model.run(inputs).values())

    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def run() -> list[Any]:
            return list(session.run(None, inputs))

    run()  # allocates
    mark(True)
    for _ in range(runs):
        outputs = run()
    mark(False)
    np.savez("out.npz", **{f"a{i}": output for i, output in enumerate(outputs)})
    with open("/proc/self/maps") as file:
        sys.stdout.write(file.read())


main()
