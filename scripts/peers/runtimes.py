"""The runtimes that artifacts are compared with: each loads an ONNX model on a number of threads.

They compute in float32 if nothing else is said. A run is what a Python program writes to get arrays from arrays,
without the copies that the runtime's own options spare; everything else is the runtime's default. Conversions happen
when the model is loaded.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Sequence[Any]]

_CONVERT_SECONDS = 300


class Refused(Exception):
    """The runtime is not installed or cannot take the model; says why."""


@dataclass(frozen=True)
class Case:
    """A model to load.

    Attributes:
        path: ONNX with static shapes.
        inputs: an array for each input, by name.
        outputs: shape by name, in the model's order.
        folder: a private one, for what a runtime converts the model into.
    """

    path: Path
    inputs: Mapping[str, np.ndarray[Any, Any]]
    outputs: Mapping[str, tuple[int, ...]]
    threads: int
    folder: Path


@dataclass(frozen=True)
class Peer:
    """A runtime.

    Attributes:
        package: what it is on PyPI.
        modules: what has to be there for it.
        load: makes the run of a model. May raise anything.
        install: pip's arguments, where the package alone is not enough.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    load: Callable[[Case], Run]
    install: str = ""

    @property
    def missing(self) -> str | None:
        """What to install, if something is missing."""
        if all(util.find_spec(module) for module in self.modules):
            return None
        return f"not installed: pip install {self.install or self.package}"

    @property
    def version(self) -> str:
        return metadata.version(self.package)


def _onnxruntime(case: Case) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = case.threads, 4
    session = onnxruntime.InferenceSession(str(case.path), options, providers=["CPUExecutionProvider"])
    inputs = dict(case.inputs)
    return lambda: session.run(None, inputs)


def _openvino(case: Case) -> Run:
    return _openvino_default(case, {"INFERENCE_PRECISION_HINT": "f32"})


def _openvino_default(case: Case, settings: Mapping[str, Any] | None = None) -> Run:
    """Without a hint it computes in bfloat16 where the processor has it."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": case.threads,
        "NUM_STREAMS": 1,
        **(settings or {}),
    }
    compiled = openvino.Core().compile_model(str(case.path), "CPU", settings)
    request = compiled.create_infer_request()
    inputs = {port: case.inputs[next(n for n in port.get_names() if n in case.inputs)] for port in compiled.inputs}
    ports = [compiled.output(name) for name in case.outputs]

    def run() -> list[Any]:
        results = request.infer(inputs, share_inputs=True, share_outputs=True)
        return [results[port] for port in ports]

    return run


def _mnn(case: Case) -> Run:
    converted = case.folder / "model.mnn"
    arguments = ("-f", "ONNX", "--modelFile", str(case.path), "--MNNModel", str(converted))
    _convert([sys.executable, "-m", "MNN.tools.mnnconvert", *arguments])
    import MNN

    # Float32 in full: "normal" may take shorter types.
    settings = {"backend": 0, "precision": "high", "numThread": case.threads}
    manager = MNN.nn.create_runtime_manager((settings,))
    names = list(case.inputs)
    module = MNN.nn.load_module_from_file(str(converted), names, list(case.outputs), runtime_manager=manager)
    kinds = {"float32": MNN.expr.float, "int32": MNN.expr.int, "int64": MNN.expr.int}
    variables = []
    for array in case.inputs.values():
        if str(array.dtype) not in kinds:
            raise Refused(f"no inputs of {array.dtype}")
        wide = array.astype(np.int32) if array.dtype == np.int64 else array
        shape = list(array.shape)
        variables.append(MNN.expr.const(np.ascontiguousarray(wide), shape, MNN.expr.NCHW, kinds[str(array.dtype)]))
    # `read` waits for the result and makes an array of it.
    return lambda: [result.read() for result in module.forward(variables)]


def _ncnn(case: Case) -> Run:
    shapes = [array.shape for array in case.inputs.values()]
    if any(not shape or shape[0] != 1 for shape in shapes) or any(a.dtype != "float32" for a in case.inputs.values()):
        raise Refused("it takes batches of one, of float32")
    source = case.folder / "model.onnx"  # pnnx writes beside its input
    source.write_bytes(case.path.read_bytes())
    sizes = ",".join(f"[{','.join(map(str, shape))}]" for shape in shapes)
    [package] = util.find_spec("pnnx").submodule_search_locations  # type: ignore[union-attr, misc]
    _convert([str(Path(package, "pnnx")), str(source), f"inputshape={sizes}", "fp16=0"])
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = case.threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(source.with_suffix(".ncnn.param"))) or net.load_model(str(source.with_suffix(".ncnn.bin"))):
        raise Refused("ncnn cannot load what pnnx made of the model")
    mats = [ncnn.Mat(np.ascontiguousarray(array[0])) for array in case.inputs.values()]

    def run() -> list[Any]:
        with net.create_extractor() as extractor:
            for index, mat in enumerate(mats):
                extractor.input(f"in{index}", mat)
            results = []
            for index, shape in enumerate(case.outputs.values()):
                status, mat = extractor.extract(f"out{index}")
                if status:
                    raise Refused(f"extracting output {index} failed with status {status}")
                results.append(np.array(mat).reshape(shape))
            return results

    return run


def _tvm(case: Case) -> Run:
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = from_onnx(onnx.load(case.path), keep_params_in_input=False)
    executable = tvm.compile(module, tvm.target.Target({"kind": "llvm", "num-cores": case.threads}))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    os.environ["TVM_BIND_THREADS"] = "0"  # it would leave this thread, which runs the others too, on one core
    tvm.get_global_func("runtime.config_threadpool")(1, case.threads)
    order = [str(param.name) for param in module["main"].params]
    inputs = [tvm.runtime.tensor(case.inputs[name]) for name in order]

    def run() -> list[Any]:
        results = machine["main"](*inputs)
        return [r.numpy() for r in results] if not isinstance(results, tvm.runtime.Tensor) else [results.numpy()]

    return run


def _convert(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CONVERT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Refused(f"its converter was not done after {_CONVERT_SECONDS} s") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise Refused(f"its converter failed: {lines[-1] if lines else f'status {done.returncode}'}")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("onnxruntime", "onnxruntime", ("onnxruntime",), _onnxruntime),
        Peer("openvino", "openvino", ("openvino",), _openvino),
        Peer("openvino-default", "openvino", ("openvino",), _openvino_default),
        Peer("mnn", "MNN", ("MNN",), _mnn),
        Peer("ncnn", "ncnn", ("ncnn", "pnnx"), _ncnn, "ncnn; pip install --no-deps pnnx"),
        Peer("tvm", "apache-tvm", ("tvm",), _tvm),
    )
}


def load(name: str, case: Case) -> Run:
    """The run of a model by the runtime `name` of PEERS.

    Raises:
        Refused: it is not installed, or cannot take the model.
    """
    peer = PEERS[name]
    if peer.missing:
        raise Refused(peer.missing)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            run = peer.load(case)
            run()
    except Refused:
        raise
    except Exception as error:  # each raises what it likes
        text = " ".join(str(error).split())
        raise Refused(f"{type(error).__name__}: {text[:200]}") from error
    return run
