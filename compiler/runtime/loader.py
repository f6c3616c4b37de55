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
import warnings
from _ctypes import dlclose  # of CPython; ctypes itself never closes a library
from collections import defaultdict
from io import FileIO
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np

__all__ = ["LoadError", "Model", "Tensor", "read_manifest"]

FORMAT, ABI = 1, 3  # of the manifest, of the C functions
ALIGNMENT = 64  # bytes; the kernels' loads and stores rely on it
MAGIC = b"EDGECMF\x01"
MACHO = b"\xcf\xfa\xed\xfe"
HEADER = 48  # bytes before the JSON text: magic, format, capacity, SHA-256
SMALL, MAX_JSON = 4 << 10, 64 << 20  # bytes: of tensors that are copied; a larger manifest can only be damage
# Names in manifests -> NumPy's, which has no bfloat16: its bits are exchanged.
NUMPY_DTYPES = dict({name: name for name in map(str, map(np.dtype, "?bhiqBHIQefd"))}, bfloat16="uint16")
OTHER_LOADER = "use the loader.py of the edgec that made it"
Path = Union[str, "os.PathLike[str]"]
Array = np.ndarray
Arrays = Mapping[str, Any]


class LoadError(Exception):
    """The file cannot be loaded here; the message says why, and what to do."""


class Tensor(NamedTuple):
    """An input or output. `dtype` and `numpy_dtype` differ for bfloat16 alone: its bits travel as uint16.
    `strings`: its arrays hold str; the kernels get int64 codes of them."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    numpy_dtype: np.dtype[Any]
    nbytes: int
    strings: bool = False


def read_manifest(path: Path) -> Dict[str, Any]:
    """The manifest of an artifact for any machine, read without loading its code. Raises LoadError."""
    return _read(path)[0]


def _read(path: Path, runnable: bool = False, check: bool = False) -> Tuple[Dict[str, Any], bytes]:
    """The manifest, and the bytes it came from; where asked, checked to be runnable here and undamaged."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before open, which would wait for ever on a pipe
            raise LoadError(f"{path} is not a file: give the path of a model made by `edgec compile`")
        with open(path, "rb", buffering=0) as file:
            reader = _Reader(path, file)
            offset, section = reader.section()
            manifest = _parse(section[HEADER:], path)
            if runnable:
                _check_machine(manifest, path)
            if check:
                reader.check_hash(offset, section[16:HEADER])
            return manifest, section
    except (OSError, ValueError) as error:
        raise LoadError(f"cannot read {path}: {error}") from None


class _Reader:
    """Reads an artifact's file, which may be damaged: every range is checked against its size."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path, self.file, self.size = path, file, os.fstat(file.fileno()).st_size

    def read(self, offset: int, count: int) -> bytes:
        if offset + count <= self.size:
            self.file.seek(offset)
            data = self.file.read(count)
            if len(data) == count:
                return data
        raise LoadError(f"{self.path} is truncated or damaged (it has {self.size} bytes): copy it again")

    def section(self) -> Tuple[int, bytes]:
        """Where the manifest begins in the file, and its bytes: header and JSON text."""
        start = self.read(0, 4)
        found = self.find_in_elf() if start == b"\x7fELF" else self.find_in_macho() if start == MACHO else None
        if found is None:
            raise LoadError(f"{self.path} has no edgec manifest: give a file made by `edgec compile`, unstripped")
        offset, length = found
        magic, version, capacity = struct.unpack("<8sII", self.read(offset, 16))
        if magic != MAGIC or capacity > MAX_JSON or HEADER + capacity >= length:
            raise LoadError(f"{self.path} is damaged (in the head of its manifest): copy it again")
        if version != FORMAT:
            raise LoadError(f"{self.path} has manifest format {version}, not {FORMAT}: {OTHER_LOADER}")
        return offset, self.read(offset, HEADER + capacity)

    def find_in_elf(self) -> Optional[Tuple[int, int]]:
        """(offset, bytes) of the manifest section."""
        bits, order = self.read(4, 2)
        if bits not in (1, 2) or order != 1:
            return None
        at, head, layout = ((32, "<I10xHHH", "<I12xII16x"), (40, "<Q10xHHH", "<I20xQQ24x"))[bits - 1]
        table, entry, count, names = struct.unpack(head, self.read(at, struct.calcsize(head)))
        if entry != struct.calcsize(layout) or names >= count:
            return None
        sections = list(struct.iter_unpack(layout, self.read(table, entry * count)))  # name, offset, bytes
        text = self.read(sections[names][1], min(sections[names][2], 1 << 20))
        return next((s[1:] for s in sections if text[s[0] : s[0] + 16] == b".edgec.manifest\0"), None)

    def find_in_macho(self) -> Optional[Tuple[int, int]]:
        """(offset, bytes) of section __EDGEC,__manifest."""
        commands = self.read(32, struct.unpack("<I", self.read(20, 4))[0])
        at = commands.find(struct.pack("<16s16s", b"__manifest", b"__EDGEC"))
        size, offset = struct.unpack("<QI", commands[at + 40 : at + 52].ljust(12, b"\0"))
        return (offset, size) if at >= 0 else None

    def check_hash(self, offset: int, digest: bytes) -> None:
        """Streams the file through SHA-256, so that a large model does not need its size in memory."""
        import hashlib  # here: it loads OpenSSL, 3 to 6 ms

        position, sha, block = self.file.seek(0), hashlib.sha256(), bytearray(1 << 20)
        for count in iter(lambda: self.file.readinto(block), 0):
            if position == 0 and block[:4] == MACHO:
                return  # the code signature covers the pages
            begin, end = max(offset + 16 - position, 0), min(offset + HEADER - position, count)
            if begin < end:
                block[begin:end] = bytes(end - begin)  # the hash itself counts as zero
            sha.update(memoryview(block)[:count])
            position += count
        if sha.digest() != digest:
            raise LoadError(f"{self.path} is truncated, damaged or changed (it does not match its SHA-256): copy it")


def _parse(text: bytes, path: Path) -> Dict[str, Any]:
    import json  # here: 2 ms that `import loader` need not take

    try:
        manifest: Dict[str, Any] = json.loads(text.decode("utf-8"))
        tables = [(_tensors(manifest["inputs"]), _tensors(manifest["outputs"]))]
        for version in _versions(manifest):
            tables += [(_shaped(tables[0][0], version["inputs"]), _shaped(tables[0][1], version["outputs"]))]
        axes = manifest.get("rows", [])  # of each output; inputs have them first
        for inputs, outputs in tables[1:] if axes else ():
            count = inputs[0].shape[0]
            sizes = [t.shape[0] for t in inputs] + [t.shape[axis] % count for t, axis in zip(outputs, axes)]
            if not count or sizes != [count] * len(inputs) + [0] * len(outputs) or min(axes) < 0:
                raise ValueError("rows")
        ranks = {tensor.name: len(tensor.shape) for tensor in tables[0][1]}
        for entry in manifest["outputs"]:
            for axis, count in entry.get("sizes", ()):
                if not (_is_size(axis) and axis < ranks[entry["name"]] and ranks[count] == 0):
                    raise ValueError("sizes")
        needs, strings = manifest["requires"], manifest.get("strings", [])
        texts, numbers = [needs["os"], needs["machine"], *strings], [len(v["steps"]) for v in _versions(manifest)]
        for feature in needs.get("cpu_features", []):
            kind, bit = feature.get("auxv", (0, 0))
            numbers += [kind << 32, bit << 57]  # so that both are in their ranges
            texts += [feature["name"], feature.get("cpuinfo", "")]
        if not (type(strings) is list and all(map(_is_size, numbers)) and all(isinstance(text, str) for text in texts)):
            raise ValueError("requires")
        _version(needs.get("glibc") or "0")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LoadError(f"{path} is damaged (its manifest is not valid: {error!r}): copy it again") from None
    return manifest


def _is_size(value: Any) -> bool:
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
        strings = entry.get("strings", False) is True and dtype == "int64"
        tensors[name] = Tensor(name, dtype, shape, numpy_dtype, nbytes, strings)
    return tuple(tensors.values())


def _versions(manifest: Dict[str, Any]) -> List[Dict[str, Any]]:
    """What differs between the shapes that a model was compiled for: none, or `inputs`, `outputs`, `steps`."""
    return manifest.get("shapes") or [{"inputs": None, "outputs": None, "steps": manifest.get("steps", ())}]


def _shaped(tensors: Tuple[Tensor, ...], shapes: Optional[List[List[int]]]) -> Tuple[Tensor, ...]:
    """The tensors with other shapes of the same ranks."""
    if shapes is None:
        return tensors
    made = _tensors([{"name": t.name, "dtype": t.dtype, "shape": s} for t, s in zip(tensors, shapes)])
    if [len(t.shape) for t in made] != [len(t.shape) for t in tensors]:
        raise ValueError("shapes")
    return made


def _check_machine(manifest: Dict[str, Any], path: Path) -> None:
    needs, again = manifest["requires"], "compile it again with the --target of this machine"
    if manifest.get("abi") != ABI:
        raise LoadError(f"{path} has ABI {manifest.get('abi')}, not {ABI}: {OTHER_LOADER}")
    machine = os.uname().machine
    if struct.calcsize("P") == 4:  # perhaps on a 64-bit kernel: what counts is the interpreter
        machine = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)
    here, wanted = f"{sys.platform} {machine}", f"{needs['os'].replace('macos', 'darwin')} {needs['machine']}"
    if wanted != here:
        raise LoadError(f"{path} was compiled for {wanted}, this Python runs on {here}: {again}")
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
            library.edgec_last_error.restype = library.edgec_warning.restype = ctypes.c_char_p
            start = library.edgec_manifest() - HEADER
        except (OSError, AttributeError) as error:
            raise LoadError(f"the system cannot load {path}: {error}") from None
        if all(ctypes.string_at(start, n) == section[:n] for n in (HEADER, len(section))):
            return library  # equal headers: equal lengths, so that no comparison reads too far
        dlclose(library._handle)
    raise LoadError(f"{path} was replaced while older versions of it are loaded: close those models first")


class _Slot:
    """A tensor's place in the call, and memory of our own for arrays that kernels cannot use."""

    def __init__(self, tensor: Tensor, pointers: Any, index: int) -> None:
        self.name, _, self.shape, self.dtype, nbytes, _ = self.tensor = tensor
        self.pointers, self.index = pointers, index
        self.memory: Optional[Tuple[Array, int]] = None  # with its address
        self.small = self.stage() if nbytes <= SMALL else None

    def new(self) -> Tuple[Array, int]:
        """An array, not cleared, and its address, a multiple of 64."""
        memory: Any = np.empty(self.tensor.nbytes + ALIGNMENT, np.uint8)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        begin = -address % ALIGNMENT
        return np.ndarray(self.shape, self.dtype, memory, begin), address + begin

    def stage(self) -> Array:
        """Hands our memory to the kernels; it is made at the first need."""
        self.memory = self.memory or self.new()
        self.pointers[self.index] = self.memory[1]
        return self.memory[0]

    def use(self, array: Any) -> Optional[Array]:
        """Hands an array's memory to the kernels, or else ours, which is returned; they always get ours for
        small tensors, since copying is quicker than asking for an address."""
        if array.shape != self.shape:
            raise ValueError(f"{self.name!r} must have shape {self.shape}, {array.shape} was given")
        if array.dtype is not self.dtype and array.dtype.newbyteorder("=") != self.dtype:
            how = "cast it with .astype" if self.tensor.dtype != "bfloat16" else "hand over its bits with .view"
            given = f"but {array.dtype} was given: {how}(numpy.{self.dtype})"
            raise TypeError(f"{self.name!r} must be {self.tensor.dtype}, {given}")
        if self.small is not None:
            return self.small
        if array.flags.c_contiguous and array.dtype == self.dtype:  # else it is of another byte order
            quick = array.flags.writeable  # a quarter of the other way's time
            address = ctypes.addressof(ctypes.c_char.from_buffer(array)) if quick else array.ctypes.data
            if address % ALIGNMENT == 0:
                self.pointers[self.index] = address
                return None
        return self.stage()

    def read(self, value: Any) -> Array:
        """Hands an input to the kernels; the array, which they may use until the run ends."""
        array = np.asarray(value)
        staged = self.use(array)
        if staged is not None:
            staged[...] = array
        return array

    def place(self, outputs: Arrays, sources: List[Array]) -> Tuple[Array, Optional[Array]]:
        """The array for a result; and our memory, if kernels write there and it is to be copied."""
        array = outputs.get(self.name)
        if array is None:
            if self.small is not None:
                return np.empty(self.shape, self.dtype), self.small
            array, self.pointers[self.index] = self.new()
            return array, None
        if not (isinstance(array, np.ndarray) and array.flags.writeable):
            raise ValueError(f"output {self.name!r} must be a writeable numpy.ndarray")
        others = [other for name, other in outputs.items() if name != self.name and other is not None]
        if any(np.shares_memory(array, other) for other in others):
            raise ValueError(f"output {self.name!r} shares memory with another: give each its own")
        staged = self.use(array)
        if staged is None and any(np.may_share_memory(array, other) for other in sources + others):
            staged = self.stage()
        return array, staged


class Model:
    """A compiled model, ready to run. Threads may share it: their runs take turns. For runs at the same
    time, make several models of one file; they share the weights.

    Args:
        path: the file that `edgec compile` made.
        threads: None: the environment's EDGEC_THREADS, else the target's fast cores this process may use.
        affinity: the CPUs to run on: "big", "little", "all" or as "0,2-3"; also of `run`'s caller, while it lasts.
            None: the environment's EDGEC_AFFINITY, else big cores, if there are such, for all but the caller.
        check: compare the file with its SHA-256 first.

    Raises LoadError if the file cannot be used here, ValueError for bad threads or affinity.
    """

    _library: Optional[ctypes.CDLL] = None

    def __init__(self, path: Path, threads: Optional[int] = None, affinity: Optional[str] = None, check: bool = True):
        if threads is not None and not (type(threads) is int and 0 < threads < 10000):
            raise ValueError(f"{threads!r} threads: give a whole number from 1 to 9999, or none")
        self.manifest, section = _read(path, runnable=True, check=check)
        self.inputs, self.outputs = _tensors(self.manifest["inputs"]), _tensors(self.manifest["outputs"])
        library, context = _open_library(path, section), ctypes.c_void_p()
        status = library.edgec_create(threads or 0, affinity and affinity.encode(), ctypes.byref(context))
        if status:
            text = library.edgec_last_error(None).decode()
            dlclose(library._handle)
            raise ValueError(text) if status == 1 else LoadError(f"cannot prepare {path}: {text}")
        if library.edgec_warning(context):
            warnings.warn(library.edgec_warning(context).decode(), RuntimeWarning, stacklevel=2)
        self.threads: int = library.edgec_num_threads(context)
        self._locks: Dict[int, threading.Lock] = defaultdict(threading.Lock)  # by process: a fork copies held ones
        pointers = [(ctypes.c_void_p * len(tensors))() for tensors in (self.inputs, self.outputs)]
        self._names = [{tensor.name for tensor in tensors} for tensors in (self.inputs, self.outputs)]
        self._sizes = {entry["name"]: entry["sizes"] for entry in self.manifest["outputs"] if "sizes" in entry}
        self._counts = [count for sizes in self._sizes.values() for _, count in sizes]
        self._words = np.array([*self.manifest.get("strings", []), None], object)[:-1]
        self._codes = {word: code for code, word in enumerate(self._words)}
        strings = [[t.name for t in tensors if t.strings] for tensors in (self.inputs, self.outputs)]
        self._strings = strings if any(strings) else []
        self._versions = {tuple(map(tuple, v["inputs"] or ())): v for v in _versions(self.manifest)}
        self._rows = [v["inputs"][0][0] for v in _versions(self.manifest) if "rows" in self.manifest]
        self._places: Dict[Any, List[List[_Slot]]] = {}  # by shapes of the inputs
        self._arguments, self._run, self._library = (context, *pointers), library.edgec_profile, library
        self._take(list(self._versions)[-1])

    def _take(self, shapes: Tuple[Tuple[int, ...], ...]) -> None:
        """Makes the places for tensors of the version with these input shapes."""
        version = self._versions[shapes]
        self._shapes, self._steps = shapes, len(version["steps"])
        if shapes not in self._places:
            tables = _shaped(self.inputs, version["inputs"]), _shaped(self.outputs, version["outputs"])
            self._places[shapes] = [
                [_Slot(tensor, pointers, i) for i, tensor in enumerate(tensors)]
                for tensors, pointers in zip(tables, self._arguments[1:])
            ]
        self._sources, self._targets = self._places[shapes]
        for slot in self._sources + self._targets:
            if slot.small is not None:
                slot.stage()

    def _choose(self, library: ctypes.CDLL, shapes: Tuple[Tuple[int, ...], ...]) -> None:
        """Turns to the version for these inputs' shapes."""
        if shapes not in self._versions:
            known = ", ".join(map(str, list(self._versions)[:3]))
            raise ValueError(f"the model was compiled for inputs of other shapes than {shapes}: {known}, ...")
        sizes = [(ctypes.c_int64 * len(shape))(*shape) for shape in shapes]
        pointers = (ctypes.c_void_p * len(sizes))(*map(ctypes.addressof, sizes))
        if library.edgec_set_shapes(self._arguments[0], pointers):
            raise RuntimeError(library.edgec_last_error(self._arguments[0]).decode())
        self._take(shapes)

    def run(self, inputs: Arrays, outputs: Optional[Arrays] = None, nanoseconds: Any = None) -> Dict[str, Any]:
        """Runs the model once.

        Args:
            inputs: an array for each, of its exact dtype and shape, with any number of rows if the manifest says
                `rows`; of str for strings. Those above 4 KiB that are
                64-byte aligned, contiguous and of the machine's byte order are used without a copy.
            outputs: arrays to write results into, for any of the outputs; the others are allocated.
            nanoseconds: gets how long each of the manifest's `steps` (of this shape's version) took; as many uint64.

        Returns all outputs by name; those that were lists as NAME_0, NAME_1 and so on. Raises TypeError or ValueError
        for arrays that do not fit, RuntimeError if a kernel fails or the model is closed.
        """
        given: Arrays = outputs or {}
        if inputs.keys() != self._names[0] or not given.keys() <= self._names[1]:
            wrong, known = inputs.keys() ^ self._names[0] or given.keys() - self._names[1], self._names
            has = f"the model has inputs {sorted(known[0])} and outputs {sorted(known[1])}"
            raise ValueError(f"missing or unknown: {sorted(wrong)}; {has}")
        shapes = self._shapes
        if len(self._versions) > 1:
            shapes = tuple(np.shape(inputs[tensor.name]) for tensor in self.inputs)
            if self._rows and shapes not in self._versions:
                return self._run_blocks(inputs, given, shapes)
        with self._locks[os.getpid()]:
            if self._library is None:
                raise RuntimeError("the model is closed")
            fresh: Dict[str, int] = {}
            if self._strings:
                inputs, given = self._encode(inputs, given, fresh)
            if shapes != self._shapes:
                self._choose(self._library, shapes)
            sources = [slot.read(inputs[slot.name]) for slot in self._sources]
            results = [slot.place(given, sources) for slot in self._targets]
            if self._run(*self._arguments, nanoseconds if nanoseconds is None else self._times(nanoseconds)):
                raise RuntimeError(self._library.edgec_last_error(self._arguments[0]).decode())
            for array, staged in results:
                if staged is not None:
                    array[...] = staged
            made = self._cut({slot.name: array for slot, (array, _) in zip(self._targets, results)})
            if self._strings:
                self._decode(made, outputs or {}, fresh)
            return made

    def _run_blocks(self, inputs: Arrays, outputs: Arrays, shapes: Tuple[Tuple[int, ...], ...]) -> Dict[str, Any]:
        """Any number of rows, in blocks of the sizes that the model was compiled for; the last may be filled up."""
        counts = {shape[:1] for shape in shapes}
        if counts == {()} or len(counts) != 1 or [s[1:] for s in shapes] != [t.shape[1:] for t in self.inputs]:
            wanted = ", ".join(f"{t.name!r} of {('rows', *t.shape[1:])}" for t in self.inputs).replace("'rows'", "rows")
            raise ValueError(f"the inputs must be {wanted}; arrays of {shapes} were given")
        count = shapes[0][0]
        results, axes = {}, dict(zip((t.name for t in self.outputs), self.manifest["rows"]))
        for tensor in self.outputs:
            shape = list(tensor.shape)
            shape[axes[tensor.name]] = shape[axes[tensor.name]] // self._rows[-1] * count
            array = np.empty(shape, object if tensor.strings else tensor.numpy_dtype)
            results[tensor.name] = outputs.get(tensor.name, array)
            if results[tensor.name].shape != array.shape or results[tensor.name].dtype != array.dtype:
                raise ValueError(f"output {tensor.name!r} must be {array.dtype} of the shape {array.shape}")
        begin = 0
        while begin < count:
            left = count - begin
            block = min((rows for rows in self._rows if rows >= left), default=self._rows[-1])
            if block > max(left * 2, 8):
                block = max(rows for rows in self._rows if rows <= left)
            part = {name: np.asarray(array)[begin : begin + block] for name, array in inputs.items()}
            if block > left:  # the last row again and again
                part = {name: np.concatenate([a, np.repeat(a[-1:], block - left, 0)]) for name, a in part.items()}
            for name, made in self.run(part).items():
                whole, piece = np.moveaxis(results[name], axes[name], 0), np.moveaxis(made, axes[name], 0)
                each = len(piece) // block
                whole[begin * each : (begin + block) * each] = piece[: left * each]
            begin += block
        return results

    def _encode(self, inputs: Arrays, outputs: Arrays, fresh: Dict[str, int]) -> Tuple[Arrays, Arrays]:
        """The inputs with codes of strings, the outputs without strings; `fresh` gets codes of unknown ones."""
        codes, coded = self._codes, {**inputs}
        for name in self._strings[0]:
            array = np.asarray(inputs[name])
            words = array.ravel().tolist()
            numbers: List[Any] = list(map(codes.get, words)) if array.dtype.kind in "UO" else [None]
            if None in numbers:
                if array.dtype.kind not in "UO" or not all(isinstance(word, str) for word in words):
                    wanted = "hand over an array of str"
                    raise TypeError(f"{name!r} must hold strings, but {array.dtype} was given: {wanted}")
                for word in words:
                    if word not in codes:
                        fresh.setdefault(word, len(codes) + len(fresh))
                numbers = [fresh[word] if code is None else code for word, code in zip(words, numbers)]
            coded[name] = np.array(numbers, np.int64).reshape(array.shape)
        return coded, {name: array for name, array in outputs.items() if name not in self._strings[1]}

    def _decode(self, results: Dict[str, Any], outputs: Arrays, fresh: Dict[str, int]) -> None:
        words = np.concatenate([self._words, np.array([*fresh, None], object)]) if fresh else self._words
        for name in self._strings[1]:
            result, array = np.asarray(words[results[name]], object), outputs.get(name)
            if array is not None:
                if array.shape != result.shape or array.dtype != object:
                    raise ValueError(f"output {name!r} must be an array of object of the shape {result.shape}")
                array[...] = result
            results[name] = result if array is None else array

    def _cut(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """The results without entries that are not meant, and without the counts of those that are."""
        for name, sizes in self._sizes.items():
            for axis, count in sizes:
                results[name] = results[name][(slice(None),) * axis + (slice(int(results[count])),)]
        for name in self._counts:
            del results[name]
        return results

    def _times(self, array: Array) -> ctypes.c_void_p:
        count, flags = self._steps, array.flags
        if array.dtype != np.uint64 or array.shape != (count,) or not (flags.c_contiguous and flags.writeable):
            raise ValueError(f"nanoseconds must be contiguous uint64, {count} of them")
        return ctypes.c_void_p(array.ctypes.data)

    def close(self) -> None:
        """Frees the memory and ends the threads. Running again is a RuntimeError, closing again nothing."""
        if self._library is not None:
            with self._locks[os.getpid()]:
                library, self._library = self._library, None
                if library is not None and library.edgec_destroy(self._arguments[0]) == 0:
                    dlclose(library._handle)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    __del__ = close
