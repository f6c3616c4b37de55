"""Damaged models: bytes changed in their files, or fields of their messages. Only a UserError may come of one."""

from __future__ import annotations

import random
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from compiler.errors import UserError
from compiler.frontend.prepare import load_model, prepare, refuse
from compiler.pipeline import compile_model
from scripts.onnx_cases.check import Progress, Results, check_each
from scripts.onnx_cases.isolated import Send

from .generate import generate

_PER_MODEL = 16
_COMPILED = 16  # one of so many is compiled, if it still can be
_SECONDS = 60.0
_MEMORY_BYTES = 6 << 30
_NUMBERS = (0, 1, -1, 2, 3, 7, 8, 16, 255, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63))


@dataclass(frozen=True)
class Damaged:
    """A file that may be no model any more.

    Attributes:
        name: what makes it again.
    """

    name: str
    data: bytes


def damaged(seed: str, count: int) -> list[Damaged]:
    """Files, each a function of its name."""
    made: list[Damaged] = []
    for number in range(-(-count // _PER_MODEL)):
        model = generate(f"{seed}-{number}").model
        for variant in range(min(_PER_MODEL, count - len(made))):
            name = f"{seed}-{number}-{variant}"
            rng = random.Random(name)
            made.append(Damaged(name, _bytes(model, rng) if variant % 3 == 0 else _fields(model, rng)))
    return made


def _bytes(model: Any, rng: random.Random) -> bytes:
    data = bytearray(model.SerializeToString())
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:place] = rng.randbytes(rng.randint(1, 4))
        elif kind == 2:
            del data[place : place + rng.randint(1, 4)]
        else:  # what is given twice is merged
            part = data[place : place + rng.randint(1, 40)]
            data[place:place] = part
        if not data:
            break
    return bytes(data)


def _fields(model: Any, rng: random.Random) -> bytes:
    """Changes that leave it a message: numbers, types, names, edges, parts that are missing or there twice."""
    other = type(model)()
    other.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(other))
        names = [text for text in (getattr(m, f.name) for m, f in places if f.name == "name") if isinstance(text, str)]
        message, field = rng.choice(places)
        _change(message, field, rng, names)
    return bytes(other.SerializeToString())


def _places(message: Message) -> list[tuple[Message, Any]]:
    """All fields that are set, within each other."""
    found: list[tuple[Message, Any]] = []
    for field, value in message.ListFields():
        found.append((message, field))
        if field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                found += _places(part)
    return found


def _change(message: Any, field: Any, rng: random.Random, names: Sequence[str]) -> None:
    value = getattr(message, field.name)
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif field.is_repeated:
        place = rng.randrange(len(value))
        kind = rng.randrange(3)
        if kind == 0:
            del value[place]
        elif kind == 1:
            value.append(value[place])
        elif field.type == field.TYPE_MESSAGE:
            value[place].CopyFrom(value[rng.randrange(len(value))])
        else:
            value[place] = _scalar(field, value[place], rng, names)
    elif field.type != field.TYPE_MESSAGE:
        setattr(message, field.name, _scalar(field, value, rng, names))


def _scalar(field: Any, value: Any, rng: random.Random, names: Sequence[str]) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice((*names, "", "x", "\N{SNOWMAN}", value + "'"))
    if field.type == field.TYPE_BYTES:
        place = rng.randrange(len(value) + 1)
        return value[:place] + rng.randbytes(rng.randint(0, 3)) + value[place + rng.randint(0, 3) :]
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    number = rng.choice((*_NUMBERS, value + 1, value - 1, rng.randint(0, 25)))
    if field.type in (field.TYPE_INT32, field.TYPE_SINT32):
        return max(-(2**31), min(number, 2**31 - 1))
    if field.type in (field.TYPE_UINT32, field.TYPE_UINT64):
        return abs(number) % 2**32
    return max(-(2**63), min(number, 2**63 - 1))


def check_damaged(files: Sequence[Damaged], progress: Progress = lambda count: None) -> Results:
    """Why a file is not handled as it should be, by its name; None if it is refused or compiled."""
    compiled = {file.name for file in files[::_COMPILED]}

    def work(batch: Sequence[Damaged], send: Send) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        with tempfile.TemporaryDirectory(prefix="edgec-damage-") as folder:
            for file in batch:
                send({"begin": file.name})
                send({"case": file.name, "reason": _reason(file, Path(folder), file.name in compiled)})
        send({"begin": ""})

    return check_each(files, work, progress, seconds=_SECONDS)


def _reason(file: Damaged, folder: Path, compiles: bool) -> str | None:
    path = folder / "model.onnx"
    path.write_bytes(file.data)
    try:
        if compiles:
            compile_model(path, "host", folder / "model.so", verify=False)
        else:
            model = load_model(path)
            refuse(prepare(model).obstacles, model.name)
    except UserError as error:
        if not (error.what and error.where and error.fix):
            return f"error: a UserError without advice: {error}"
    except Exception as error:
        return f"error: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None
