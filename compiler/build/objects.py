"""The kernels of a program as object files: from the cache, or scheduled and compiled on all cores.

A kernel is compiled from its canonical form, which knows neither its name nor the model around it. So equal
kernels, of one model or of several, are one object, and the same bytes whether they were compiled now or before.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import tvm_ffi
from tvm import ir

from ..kernels.in_place import IN_PLACE, overwritten_argument
from ..kernels.limits import limits_of
from ..kernels.rule import Decision, Parameters
from ..kernels.schedule import schedule
from ..target import Target
from ..versions import EDGEC, TVM, TVM_FFI, llvm_version
from .cache import Cache, digest_of_files
from .codegen import compile_kernel
from .memory import ALIGNMENT

# A kernel named `exp` or `round` must not stand in for libm's.
_PREFIX = "edgec_kernel_"
_SYMBOL_DIGITS = 16  # of the key, in hexadecimal
COMPILING = "compile"  # what the names of threads that compile begin with
# TVM and LLVM recurse over nested expressions; a thread's default may be a fourth of what the process began with.
_STACK_BYTES = 16 << 20


def _sources() -> str:
    """A digest of our own code that makes kernels."""
    build = Path(__file__).resolve().parent
    own = (build / name for name in ("codegen.py", "llvm_options.py", "objects.py"))
    return digest_of_files([*build.parent.glob("kernels/*.py"), *own], build.parent)


# An edited schedule finds none of the old objects. Taken now, as the files may change after they were imported.
_SOURCES = _sources()


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel as machine code.

    Attributes:
        symbol: the C function's name.
        rule, parameters, failures: how it was scheduled; see `kernels.schedule.Scheduled`.
        in_place: the argument whose memory the result may have, of those that the program's attribute IN_PLACE names.
        code: the object file.
    """

    symbol: str
    rule: str
    parameters: Parameters
    failures: Mapping[str, str]
    in_place: int | None
    code: bytes

    def to_bytes(self) -> bytes:
        """A line of JSON, then the object file."""
        facts = {name: value for name, value in vars(self).items() if name != "code"}
        return json.dumps(facts).encode() + b"\n" + self.code

    @classmethod
    def from_bytes(cls, data: bytes) -> CompiledKernel:
        facts, code = data.split(b"\n", 1)
        return cls(**json.loads(facts), code=code)


@dataclass(frozen=True)
class Job:
    """A kernel to make.

    Attributes:
        key: as of `kernel_key`.
        program: canonical, not scheduled.
        decision: how it is to be scheduled; None for as its rules derive it.
    """

    key: str
    program: Any
    decision: Decision | None

    def compile(self, target: Target) -> CompiledKernel:
        """Schedules and compiles it. Raises tvm.error.TVMError."""
        scheduled = schedule(self.program, target, self.decision)
        in_place = overwritten_argument(scheduled.func)
        if in_place is None and IN_PLACE in (self.program.attrs or {}):  # the plain kernel, which may be there already
            key_of_code = kernel_key(self.program.without_attr(IN_PLACE), target, self.decision)
        else:
            key_of_code = self.key
        symbol = _PREFIX + key_of_code[:_SYMBOL_DIGITS]
        code = compile_kernel(scheduled.func, symbol, target, aliases=in_place is not None)
        return CompiledKernel(symbol, scheduled.rule, scheduled.parameters, scheduled.failures, in_place, code)


class Workers(Protocol):
    """Other machines that compile."""

    def compile(self, jobs: Sequence[Job], target: Target) -> Mapping[str, CompiledKernel]:
        """Kernels by key; what is missing is left to this machine."""


@dataclass(frozen=True)
class Objects:
    """Compiled kernels.

    Attributes:
        kernels: by the name of the tensor program; equal programs share one.
        cached: how many of the different kernels came from the cache.
    """

    kernels: dict[str, CompiledKernel]
    cached: int

    @property
    def distinct(self) -> dict[str, CompiledKernel]:
        """Each kernel once, by symbol, in order of its first name."""
        return {kernel.symbol: kernel for kernel in self.kernels.values()}


def compile_kernels(
    programs: Mapping[str, Any],
    target: Target,
    cache: Cache | None = None,
    decisions: Mapping[str, Decision] | None = None,
    workers: Workers | None = None,
) -> Objects:
    """Schedules and compiles tensor programs.

    Args:
        programs: TIR PrimFuncs of static shapes, not scheduled yet, by name.
        decisions: by name, how some of them are to be scheduled.
        workers: that do it in place of this machine.

    Raises:
        tvm.error.TVMError: TVM or LLVM cannot generate code for a kernel.
    """
    canonical = {name: canonical_form(program) for name, program in programs.items()}
    chosen = {name: (decisions or {}).get(name) for name in programs}
    keys = {name: kernel_key(program, target, chosen[name]) for name, program in canonical.items()}
    names = {key: name for name, key in keys.items()}
    known = {}
    for key in names:
        data = cache.load(key) if cache else None
        if data is not None:
            known[key] = CompiledKernel.from_bytes(data)

    def keep(key: str, kernel: CompiledKernel) -> CompiledKernel:
        if cache:
            cache.store(key, kernel.to_bytes())
        return kernel

    missing = [Job(key, canonical[name], chosen[name]) for key, name in names.items() if key not in known]
    elsewhere = workers.compile(missing, target) if workers is not None and missing else {}
    made = {key: keep(key, kernel) for key, kernel in elsewhere.items()}
    left = [job for job in missing if job.key not in made]
    compiled = on_all_cores(lambda job: keep(job.key, job.compile(target)), left)
    made |= zip((job.key for job in left), compiled, strict=True)
    if cache and missing:
        cache.trim()
    return Objects({name: (known | made)[key] for name, key in keys.items()}, len(known))


def on_all_cores(work: Callable[[Job], CompiledKernel], jobs: Sequence[Job]) -> list[CompiledKernel]:
    """The results of `work` in order; LLVM, which takes nearly all of the time, runs outside Python's lock."""
    pool = ThreadPoolExecutor(usable_cores(), COMPILING)
    try:
        with _deep_stacks():
            results = pool.map(work, jobs)
        return list(results)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_compiler() -> Iterator[ThreadPoolExecutor]:
    """A thread that makes what is needed next."""
    with ThreadPoolExecutor(1, COMPILING) as pool:
        with _deep_stacks():
            pool.submit(int)
        yield pool


@contextmanager
def _deep_stacks() -> Iterator[None]:
    """For the threads that are started meanwhile."""
    default = threading.stack_size(_STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(default)


def usable_cores() -> int:
    """Cores that this process may run on, by what its first thread may."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(os.getpid())) if affinity else os.cpu_count() or 1


@functools.lru_cache(maxsize=512)  # each part of the compiler asks for those of a model's programs
def canonical_form(program: Any) -> Any:
    """A tensor program whose variables are numbered in the order of their first occurrence, without its name."""
    numbered: dict[Any, Any] = {}

    def on_var(var: Any) -> Any:
        if var not in numbered:
            numbered[var] = ir.Var(f"v{len(numbered)}", var.ty)
        return numbered[var]

    return tvm_ffi.structural_map(program.without_attr("global_symbol"), [(ir.Var, on_var)])


def kernel_key(program: Any, target: Target, decision: Decision | None = None) -> str:
    """64 hex digits over all that the machine code of a canonical program depends on."""
    decided = decision.text if decision is not None else ""
    text = f"{_context(target)}\n{decided}\n{ir.save_json(program)}"
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _context(target: Target) -> str:
    """What all kernels of a target depend on."""
    facts = {
        "versions": [EDGEC, TVM, TVM_FFI, llvm_version()],
        "sources": _SOURCES,
        "target": [target.tvm_target(), target.fingerprint, asdict(limits_of(target)), ALIGNMENT],
        # Whether threads pay depends on them.
        "speed": [target.peak_gflops(), target.ghz, target.memory_bandwidth_gbs],
    }
    return json.dumps(facts, sort_keys=True)
