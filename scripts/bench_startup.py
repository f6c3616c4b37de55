#!/usr/bin/env python3
"""Memory, size and time to the first result, beside onnxruntime: `bench_startup.py MODEL.onnx [--shape NAME=1x3x8x8]`.

Each run is a process of its own that loads the model, runs it once on seeded inputs and reports its resident
memory, and how long ago the process was started. The runs alternate: bare Python with NumPy, edgec,
onnxruntime, and again; medians are printed, and written as JSON with --json. One thread each.
With --rows the artifact takes any number of rows, and is asked this many.
Linux only (it reads /proc/self/status).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

_REPORT = """
import time, json
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({"seconds": time.perf_counter() - START, "rss": int(status["VmRSS"].split()[0]),
                  "peak": int(status["VmHWM"].split()[0])}))
"""
_INPUTS = """
with np.load(INPUT) as archive:
    inputs = {name: archive[name] for name in archive.files}
"""
_BARE = "import numpy as np\n" + _INPUTS
_EDGEC = "import sys; sys.path.insert(0, LOADER)\nimport numpy as np\nfrom loader import Model\n" + _INPUTS
_EDGEC += "model = Model(ARTIFACT, threads=1)\noutputs = model.run(inputs)\n"
_ORT = "import numpy as np\nimport onnxruntime\n" + _INPUTS
_ORT += """options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 4
session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
outputs = session.run(None, inputs)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x8x8")
    parser.add_argument("--rows", type=int, metavar="N")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    import numpy as np
    import onnx

    import compiler
    from compiler.frontend.shapes import parse_shapes
    from compiler.verify.execute import LOADER
    from compiler.verify.vectors import seeded_inputs
    from scripts.peers.measure import fix_model, input_tensors

    with tempfile.TemporaryDirectory() as folder:
        fixed = Path(folder, "fixed.onnx")
        model = fix_model(onnx.load(options.model), parse_shapes(options.shape), options.rows is not None)
        onnx.save(model, fixed)
        artifact = compiler.compile_model(fixed, "host", Path(folder, "model.so"))
        np.savez(Path(folder, "in.npz"), **seeded_inputs(input_tensors(model, options.rows)))
        names = {
            "LOADER": str(LOADER.parent),
            "ARTIFACT": str(artifact.path),
            "MODEL": str(fixed),
            "INPUT": str(Path(folder, "in.npz")),
        }
        header = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        samples: dict[str, list[dict[str, float]]] = {"python": [], "edgec": [], "onnxruntime": []}
        for _ in range(options.runs + 1):
            for peer, body in (("python", _BARE), ("edgec", _EDGEC), ("onnxruntime", _ORT)):
                start = time.perf_counter()  # the same clock in every process
                script = f"START = {start!r}\n{header}{body}{_REPORT}"
                out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
                samples[peer].append(json.loads(out))
        files = {"python": 0, "edgec": artifact.size, "onnxruntime": options.model.stat().st_size}
    medians = {
        peer: {key: statistics.median(run[key] for run in runs[1:]) for key in ("seconds", "rss", "peak")}
        for peer, runs in samples.items()  # the first of each warmed the page cache
    }
    base = medians["python"]
    rows = "" if options.rows is None else f"rows: {options.rows:,}, "
    title = f"{options.model.name}, {rows}runs: {options.runs}"
    print(f"| {title} | start to first result, ms | resident MiB | above Python + NumPy, MiB | file, MiB |")
    print("|---|---|---|---|---|")
    for peer, row in medians.items():
        above = (row["rss"] - base["rss"]) / 1024
        size = files[peer] / 2**20
        print(f"| {peer} | {row['seconds'] * 1e3:.0f} | {row['rss'] / 1024:.1f} | {above:.1f} | {size:.2f} |")
    if options.json:
        report = {"model": options.model.name, "rows": options.rows, "bytes": files, "medians": medians}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
