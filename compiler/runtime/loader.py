"""Runs a compiled edgec model: this one file and NumPy are all a device needs.

    with Model("model.so") as model:
        result = model.run({"x": array})  # {"y": array}

What can be checked is checked before the model's code is loaded: that the file is complete, and made for this
machine, its CPU and its C library. Works with Python 3.8 and newer on Linux and macOS.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
import threading
from _ctypes import dlclose  # of CPython; ctypes itself never closes a library
from io import FileIO
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np

__all__ = ["LoadError", "Model", "Tensor", "read_manifest"]

FORMAT, ABI = 1, 1  # of the manifest, of the C functions
ALIGNMENT = 64  # bytes; the kernels' loads and stores rely on it
MAGIC = b"EDGECMF\x01"
MACHO = b"\xcf\xfa\xed\xfe"
HEADER = 48  # bytes before the JSON text: magic, format, capacity, SHA-256
MAX_JSON = 64 << 20  # bytes; a larger manifest can only be damage
INTS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = ["bool", *INTS, "float16", "float32", "float64"]
NUMPY_DTYPES = {**{d: d for d in DTYPES}, "bfloat16": "uint16"}  # NumPy has none: its bits are exchanged
OTHER_LOADER = "use the loader.py of the edgec that made it"
Path = Union[str, "os.PathLike[str]"]
Array = np.ndarray
Arrays = Mapping[str, Any]


class LoadError(Exception):
    """The file cannot be loaded here; the message says why, and what to do."""


class Tensor(NamedTuple):
    """An input or output. `dtype` and `numpy_dtype` differ for bfloat16 alone: its bits travel as uint16."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    numpy_dtype: np.dtype[Any]
    nbytes: int


def read_manifest(path: Path) -> Dict[str, Any]:
    """The manifest of an artifact for any machine, read without loading its code. Raises LoadError."""
    return _read(path)[0]


def _read(path: Path, runnable: bool = False, check: bool = False) -> Tuple[Dict[str, Any], bytes]:
    """The manifest, and the bytes it came from; where asked, checked to be runnable here and undamaged."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before open, which would wait for ever on a pipe
            raise LoadError(f"{path} is not a file: give the path of a model made by `edgec compile`")
        with open(path, "rb", buffering=0) as file:
            offset, section = _read_section(file, path)
            manifest = _parse(section[HEADER:], path)
            if runnable:
                _check_machine(manifest, path)
            if check:
                _check_hash(file, offset, section[16:HEADER], path)
            return manifest, section
    except (OSError, ValueError) as error:
        raise LoadError(f"cannot read {path}: {error}") from None


def _read_section(file: FileIO, path: Path) -> Tuple[int, bytes]:
    """Where the manifest begins in the file, and its bytes: header and JSON text."""
    size = os.fstat(file.fileno()).st_size

    def read(offset: int, count: int) -> bytes:
        if offset + count <= size:
            file.seek(offset)
            data = file.read(count)
            if len(data) == count:
                return data
        raise LoadError(f"{path} is truncated or damaged (it has {size} bytes): copy it again")

    start = read(0, 4)
    found = _find_in_elf(read) if start == b"\x7fELF" else _find_in_macho(read) if start == MACHO else None
    if found is None:
        raise LoadError(f"{path} has no edgec manifest: give a file made by `edgec compile`, unstripped")
    offset, length = found
    magic, version, capacity = struct.unpack("<8sII", read(offset, 16))
    if magic != MAGIC or capacity > MAX_JSON or HEADER + capacity >= length:
        raise LoadError(f"{path} is damaged (in the head of its manifest): copy it again")
    if version != FORMAT:
        raise LoadError(f"{path} has manifest format {version}, not {FORMAT}: {OTHER_LOADER}")
    return offset, read(offset, HEADER + capacity)


def _find_in_elf(read: Callable[[int, int], bytes]) -> Optional[Tuple[int, int]]:
    """(offset, bytes) of the manifest section; `read` checks every range against the file."""
    bits, order = read(4, 2)
    if bits not in (1, 2) or order != 1:
        return None
    if bits == 2:
        table, entry, count, names = struct.unpack("<Q10xHHH", read(40, 24))
        layout = struct.Struct("<I20xQQ24x")  # name, offset, bytes
    else:
        table, entry, count, names = struct.unpack("<I10xHHH", read(32, 20))
        layout = struct.Struct("<I12xII16x")
    if entry != layout.size or names >= count:
        return None
    sections = list(layout.iter_unpack(read(table, entry * count)))
    text = read(sections[names][1], min(sections[names][2], 1 << 20))
    return next((s[1:] for s in sections if text[s[0] : s[0] + 16] == b".edgec.manifest\0"), None)


def _find_in_macho(read: Callable[[int, int], bytes]) -> Optional[Tuple[int, int]]:
    """(offset, bytes) of section __EDGEC,__manifest."""
    count, total = struct.unpack("<II", read(16, 8))
    commands, at = read(32, total), 0
    for _ in range(count):
        kind, length = struct.unpack_from("<II", commands, at) if at + 8 <= total else (0, 0)
        if length < 8 or at + length > total:
            return None
        if kind == 0x19 and length >= 72:  # LC_SEGMENT_64; its sections follow it
            for i in range((length - 72) // 80):
                name, segment, size, offset = struct.unpack_from("<16s16s8xQI", commands, at + 72 + 80 * i)
                if (segment.rstrip(b"\0"), name.rstrip(b"\0")) == (b"__EDGEC", b"__manifest"):
                    return offset, size
        at += length
    return None


def _parse(text: bytes, path: Path) -> Dict[str, Any]:
    import json  # here: 2 ms that `import loader` need not take

    try:
        manifest: Dict[str, Any] = json.loads(text.decode("utf-8"))
        _tensors(manifest["inputs"]), _tensors(manifest["outputs"])
        needs = manifest["requires"]
        texts, numbers = [needs["os"], needs["machine"]], [manifest["target"].get("fast_cores") or 0]
        for feature in needs.get("cpu_features", []):
            kind, bit = feature.get("auxv", (0, 0))
            numbers += [kind << 32, bit << 57]  # so that both are in their ranges
            texts += [feature["name"], feature.get("cpuinfo", "")]
        if not (all(map(_is_size, numbers)) and all(isinstance(text, str) for text in texts)):
            raise ValueError("requires or target")
        _version(needs.get("glibc") or "0")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LoadError(f"{path} is damaged (its manifest is not valid: {error!r}): copy it again") from None
    return manifest


def _is_size(value: Any) -> bool:
    """A whole number of at most 63 bits."""
    return type(value) is int and 0 <= value < 1 << 63


def _version(text: str) -> Tuple[int, ...]:
    return tuple(map(int, text.split(".")))  # ValueError if it is none


def _tensors(entries: List[Dict[str, Any]]) -> Tuple[Tensor, ...]:
    tensors: Dict[str, Tensor] = {}
    for entry in entries:
        name, dtype, shape = entry["name"], entry["dtype"], tuple(entry["shape"])
        numpy_dtype, usable = np.dtype(NUMPY_DTYPES[dtype]), len(shape) <= 32 and all(map(_is_size, shape))
        nbytes = int(np.prod([numpy_dtype.itemsize, *shape], dtype=object)) if usable else -1
        if type(name) is not str or name in tensors or not _is_size(nbytes):
            raise ValueError(f"tensor {name!r}")
        tensors[name] = Tensor(name, dtype, shape, numpy_dtype, nbytes)
    return tuple(tensors.values())


def _check_hash(file: FileIO, offset: int, digest: bytes, path: Path) -> None:
    """Streams the file through SHA-256, so that a large model does not need its size in memory."""
    import hashlib  # here: it loads OpenSSL, 3 to 6 ms

    position, sha, block = file.seek(0), hashlib.sha256(), bytearray(1 << 20)
    for count in iter(lambda: file.readinto(block), 0):
        if position == 0 and block[:4] == MACHO:
            return  # the code signature covers the pages
        begin, end = max(offset + 16 - position, 0), min(offset + HEADER - position, count)
        if begin < end:
            block[begin:end] = bytes(end - begin)  # the hash itself counts as zero
        sha.update(memoryview(block)[:count])
        position += count
    if sha.digest() != digest:
        raise LoadError(f"{path} is truncated, damaged or changed (it does not match its SHA-256): copy it")


def _check_machine(manifest: Dict[str, Any], path: Path) -> None:
    needs, again = manifest["requires"], "compile it again with the --target of this machine"
    if manifest.get("abi") != ABI:
        raise LoadError(f"{path} has ABI {manifest.get('abi')}, not {ABI}: {OTHER_LOADER}")
    machine = os.uname().machine
    if struct.calcsize("P") == 4:  # perhaps on a 64-bit kernel: what counts is the interpreter
        machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    here, wanted = (sys.platform, machine), (needs["os"].replace("macos", "darwin"), needs["machine"])
    if wanted != here:
        there = f"was compiled for {' '.join(wanted)}, this Python runs on {' '.join(here)}"
        raise LoadError(f"{path} {there}: {again}")
    missing = ", ".join(_missing_features(needs.get("cpu_features", [])))
    if missing:
        raise LoadError(f"{path} was compiled for a CPU with {missing}, which this CPU has not: {again}")
    if needs.get("glibc"):
        try:
            found = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace("glibc ", "")
            enough = _version(found) >= _version(needs["glibc"])
        except ValueError:
            found, enough = "another C library", False
        if not enough:
            fix = "upgrade the system, or compile it again for an older one"
            raise LoadError(f"{path} needs glibc {needs['glibc']} or newer, this system has {found}: {fix}")


def _missing_features(features: List[Dict[str, Any]]) -> List[str]:
    """Names of the features that this CPU lacks. What the system does not tell is taken to be there."""
    missing, flags = [], []
    getauxval: Any = getattr(ctypes.CDLL(None), "getauxval", None)  # absent on macOS
    if any("cpuinfo" in feature for feature in features) and os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.startswith(("flags", "Features", "isa"))]
        flags = lines[0].partition(":")[2].split() if lines else []
        isa = flags[0].split("_") if flags else [""]  # RISC-V writes rv64imafdcv_zba_zbb
        flags += isa + list(isa[0][4:])
    for feature in features:
        if "auxv" in feature and getauxval:
            getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
            missing += [feature["name"]] * (not getauxval(feature["auxv"][0]) >> feature["auxv"][1] & 1)
        elif "cpuinfo" in feature and any(flags):
            missing += [feature["name"]] * (feature["cpuinfo"] not in flags)
    return missing


def _open_library(path: Path, section: bytes) -> ctypes.CDLL:
    """dlopen, and proof that it gave the file that was checked: the system may answer with an older file that
    is still loaded and had the same path, so other spellings of the path are tried."""
    folder, name = os.path.split(os.path.abspath(path))
    for attempt in range(16):
        try:
            library = ctypes.CDLL(os.path.join(folder, "./" * attempt + name))
            library.edgec_manifest.restype = ctypes.c_void_p
            library.edgec_last_error.restype = ctypes.c_char_p
            start = library.edgec_manifest() - HEADER
        except (OSError, AttributeError) as error:
            raise LoadError(f"the system cannot load {path}: {error}") from None
        if all(ctypes.string_at(start, n) == section[:n] for n in (HEADER, len(section))):
            return library  # equal headers: equal lengths, so that no comparison reads too far
        dlclose(library._handle)
    raise LoadError(f"{path} was replaced while older versions of it are loaded: close those models first")


def _count_threads(given: Optional[int], fast_cores: Optional[int]) -> int:
    text = os.environ.get("EDGEC_THREADS", "") if given is None else str(given)
    if text.isdecimal() and 0 < int(text[:5]) < 10000:
        return int(text)
    if text:
        raise ValueError(f"{text!r} threads (or EDGEC_THREADS): give a whole number from 1 to 9999, or none")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(fast_cores or usable, usable)


def _address(array: Any) -> int:
    if array.flags.writeable and array.size:  # the quickest way, a quarter of the next one's time
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    return int(array.ctypes.data)


def _aligned(tensor: Tensor) -> Array:
    """A new array of the tensor's type and shape; its address is a multiple of 64. Not cleared."""
    memory = np.empty(tensor.nbytes + ALIGNMENT, np.uint8)
    begin = -_address(memory) % ALIGNMENT
    return np.ndarray(tensor.shape, tensor.numpy_dtype, memory, begin)  # type: ignore[no-any-return]


def _check_array(array: Array, tensor: Tensor, kind: str) -> bool:
    """Whether kernels can use the array's memory as it is. TypeError or ValueError if it does not fit."""
    if array.shape != tensor.shape:
        raise ValueError(f"{kind} {tensor.name!r} must have shape {tensor.shape}, {array.shape} was given")
    if array.dtype == tensor.numpy_dtype:  # else it may still be of another byte order
        return bool(array.flags.c_contiguous and (_address(array) % ALIGNMENT == 0 or array.size == 0))
    if array.dtype.newbyteorder("=") != tensor.numpy_dtype:
        how = "cast it with .astype" if tensor.dtype != "bfloat16" else "hand over its bits with .view"
        given = f"but {array.dtype} was given: {how}(numpy.{tensor.numpy_dtype})"
        raise TypeError(f"{kind} {tensor.name!r} must be {tensor.dtype}, {given}")
    return False


def _check_names(given: Arrays, tensors: Tuple[Tensor, ...], kind: str, needed: bool) -> None:
    names = {t.name for t in tensors}
    wrong = names.symmetric_difference(given) if needed else set(given) - names
    if wrong:
        known = ", ".join(map(repr, sorted(names))) or "none"
        raise ValueError(f"missing or unknown {kind}: {', '.join(map(repr, wrong))}; the model has {known}")


class Model:
    """A compiled model, ready to run. Threads may share it: their runs take turns. For runs at the same
    time, make several models of one file; they share the weights.

    Args:
        path: the file that `edgec compile` made.
        threads: None: the environment's EDGEC_THREADS, else the target's fast cores this process may use.
        check: compare the file with its SHA-256 first.

    Raises LoadError if the file cannot be used here, ValueError for a bad number of threads.
    """

    _library: Optional[ctypes.CDLL] = None

    def __init__(self, path: Path, threads: Optional[int] = None, check: bool = True) -> None:
        self.manifest, section = _read(path, runnable=True, check=check)
        self.inputs, self.outputs = _tensors(self.manifest["inputs"]), _tensors(self.manifest["outputs"])
        count = _count_threads(threads, self.manifest["target"].get("fast_cores"))
        self._locks: Dict[int, threading.Lock] = {}  # by process: a fork may copy one that is held for ever
        self._staging: Dict[Tuple[str, str], Array] = {}
        self._pointers = [(ctypes.c_void_p * len(tensors))() for tensors in (self.inputs, self.outputs)]
        self._context = ctypes.c_void_p()
        library = _open_library(path, section)
        if library.edgec_create(count, ctypes.byref(self._context)):
            raise LoadError(f"cannot prepare {path}: {library.edgec_last_error(None).decode()}")
        self.threads: int = library.edgec_num_threads(self._context)
        self._library = library

    def run(self, inputs: Arrays, outputs: Optional[Arrays] = None) -> Dict[str, Any]:
        """Runs the model once.

        Args:
            inputs: an array for each input, of its exact dtype and shape. Those that are 64-byte aligned,
                contiguous and of the machine's byte order are used without a copy.
            outputs: arrays to write results into, for any of the outputs; the others are allocated.

        Returns all outputs by name. Raises TypeError or ValueError for arrays that do not fit, RuntimeError
        if a kernel fails or the model is closed.
        """
        given = {name: array for name, array in (outputs or {}).items() if array is not None}
        _check_names(inputs, self.inputs, "input", True)
        _check_names(given, self.outputs, "output", False)
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._library is None:
                raise RuntimeError("the model is closed")
            sources = [self._source(t, np.asarray(inputs[t.name])) for t in self.inputs]
            targets = [self._target(t, given, sources) for t in self.outputs]
            for pointers, arrays in zip(self._pointers, (sources, targets)):
                pointers[:] = [_address(array) for array in arrays]
            if self._library.edgec_run(self._context, *self._pointers):
                raise RuntimeError(self._library.edgec_last_error(self._context).decode())
            results = {t.name: given.get(t.name, target) for t, target in zip(self.outputs, targets)}
            for result, target in zip(results.values(), targets):
                if result is not target:
                    result[...] = target
            return results

    def _staged(self, kind: str, tensor: Tensor) -> Array:
        if (kind, tensor.name) not in self._staging:
            self._staging[kind, tensor.name] = _aligned(tensor)
        return self._staging[kind, tensor.name]

    def _source(self, tensor: Tensor, array: Array) -> Array:
        """The array itself, or a copy that kernels can read."""
        if _check_array(array, tensor, "input"):
            return array
        np.copyto(self._staged("input", tensor), array)
        return self._staged("input", tensor)

    def _target(self, tensor: Tensor, given: Arrays, sources: List[Any]) -> Array:
        """Where the kernels write: a new array, the caller's, or staging that is later copied there."""
        if tensor.name not in given:
            return _aligned(tensor)
        array = given[tensor.name]
        if not (isinstance(array, np.ndarray) and array.flags.writeable):
            raise ValueError(f"output {tensor.name!r} must be a writeable numpy.ndarray")
        others = [other for name, other in given.items() if name != tensor.name]
        if any(np.shares_memory(array, other) for other in others):
            raise ValueError(f"output {tensor.name!r} shares memory with another: give each its own")
        direct = _check_array(array, tensor, "output")
        if direct and not any(np.may_share_memory(array, other) for other in sources + others):
            return array
        return self._staged("output", tensor)

    def close(self) -> None:
        """Frees the memory and ends the threads. Running again is a RuntimeError, closing again nothing."""
        if self._library is not None:
            with self._locks.setdefault(os.getpid(), threading.Lock()):
                library, self._library = self._library, None
                if library is not None and library.edgec_destroy(self._context) == 0:
                    dlclose(library._handle)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    __del__ = close
