"""Compiles kernels on other machines: the workers of a Dask cluster, <https://distributed.dask.org>.

What goes there is text, a tensor program in TVM's JSON and a target's descriptor, and what comes back an object file.
Dask names our function to its workers, which import it from the edgec that is installed there: of another version, or
of other sources, it refuses. Workers, and whoever reaches their scheduler, are trusted: Dask runs what it is told, and
what workers send back is linked and run.
"""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import ir

from ..build.objects import CompiledKernel, Job, kernel_key, on_all_cores
from ..errors import UserError
from ..kernels.rule import Decision
from ..target import Target, parse_target
from ..versions import EDGEC, TVM, TVM_FFI, check_tvm, llvm_version

_CONNECT_SECONDS = 10
_POLL_SECONDS = 1.0
_ALONE_POLLS = 5  # without a worker, before this machine takes over: one may come back

Versions = dict[str, str]


class DaskWorkers:
    """The workers of a scheduler.

    Args:
        address: of the scheduler, as `tcp://192.168.1.10:8786`.
        told: called with a sentence when kernels were left to this machine.

    Raises:
        UserError: `distributed` is not installed, nothing answers, there are no workers, or one has other versions.
    """

    def __init__(self, address: str, told: Callable[[str], None] = lambda text: None) -> None:
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise UserError("--workers needs the package distributed", fix="pip install distributed") from error
        self.address, self._told = address, told
        fix = "start `dask scheduler`, and give its address: tcp://HOST:8786"
        if not re.fullmatch(r"(tcp|tls)://[^/]+:\d+", address):  # of which Dask would make something else
            raise UserError(f"not the address of a scheduler: {address!r:.80}", "--workers", fix)
        try:
            self._client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            what = f"no Dask scheduler answers at {address!r:.80}: {str(error) or type(error).__name__:.200}"
            raise UserError(what, "--workers", fix) from error
        try:
            self._check()
        except UserError:
            self.close()
            raise

    def _check(self) -> None:
        found = self._client.run(installed_versions, on_error="return")
        if not found:
            fix = f"start `dask worker {self.address}` where edgec is installed"
            raise UserError(f"the scheduler at {self.address} has no workers", "--workers", fix)
        for worker, versions in found.items():
            if versions != installed_versions():
                what = f"the worker {worker} has {_text(versions)}; here is {_text(installed_versions())}"
                raise UserError(what, "--workers", "install the same edgec there")

    @property
    def count(self) -> int:
        """How many workers there are now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"]) if self._client.status == "running" else 0

    def compile(self, jobs: Sequence[Job], target: Target) -> Mapping[str, CompiledKernel]:
        """Kernels by key. Of workers that are lost, Dask gives the work to others; if none is left, it is missing."""
        descriptor = target.to_toml()
        futures = self._client.map(compile_order, [_order(job, descriptor) for job in jobs], pure=False)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(ended.put)
        left, alone = len(futures), 0
        while left and alone < _ALONE_POLLS:
            try:
                ended.get(timeout=_POLL_SECONDS)
                left -= 1
            except queue.Empty:
                alone = 0 if self.count else alone + 1
        made, why = {}, "no worker is left"
        for job, future in zip(jobs, futures, strict=True):
            if future.status == "finished":
                made[job.key] = CompiledKernel.from_bytes(future.result())
            elif future.status == "error":
                why = str(future.exception())
        if left and self._client.status == "running":
            self._client.cancel(futures)
        if len(made) < len(jobs):
            self._told(f"workers at {self.address}: {len(jobs) - len(made)} kernels are compiled here: {why:.200}")
        return made

    def close(self) -> None:
        """Leaves the scheduler."""
        self._client.close(_CONNECT_SECONDS)


def installed_versions() -> Versions:
    """Of what makes kernels, on the machine that it is called on."""
    check_tvm()
    return {"edgec": EDGEC, "TVM": TVM, "tvm-ffi": TVM_FFI, "LLVM": llvm_version()}


def _text(versions: Versions | BaseException) -> str:
    if isinstance(versions, BaseException):
        return f"no edgec that works ({type(versions).__name__}: {versions!s:.200})"
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _order(job: Job, descriptor: str) -> str:
    decision = job.decision and {"rule": job.decision.rule, "parameters": dict(job.decision.parameters)}
    program = ir.save_json(job.program)
    return json.dumps({"key": job.key, "target": descriptor, "program": program, "decision": decision})


def compile_order(order: str) -> bytes:
    """Runs on a worker: the bytes of a CompiledKernel.

    Raises:
        ValueError: the kernel would be another here, as edgec's sources are others.
    """
    given: dict[str, Any] = json.loads(order)
    target, decision = parse_target(given["target"], "the target's descriptor"), given["decision"]
    job = Job(given["key"], ir.load_json(given["program"]), decision and Decision(**decision))
    if kernel_key(job.program, target, job.decision) != job.key:
        raise ValueError("the worker's edgec is another: install the same there")
    (kernel,) = on_all_cores(lambda job: job.compile(target), [job])
    return kernel.to_bytes()
