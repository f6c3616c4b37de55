"""Errors of the libraries below, turned into messages for the model's owner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UserError

_NOISE = (
    re.compile(r"\S*\.(?:cc|cpp|cu|h|hpp|py):\d+:?\s*(?:operator\(\):\s*|\w+: )?"),  # where in the library's source
    re.compile(r"Assertion `.*?` failed:?\s*"),
    re.compile(r"(?:\w+Error: )?Check failed:?\s*\(.*?\)\s*(?:is false)?:?\s*"),
    re.compile(r"\[?(?:Shape|Type)InferenceError\]?:?\s*|InferenceError:\s*"),
    re.compile(r"\s*==> Context:.*"),
    re.compile(r"\bE?xception during loading\b.*"),
    re.compile(r"0x[0-9a-f]{6,}"),
)
_MAX_LENGTH = 300


def clean(error: object) -> str:
    """One line of an error's text, without source locations, assertions and tags."""
    try:
        text = " ".join(str(error).split())
    except UnicodeError:
        return "names that are not UTF-8"
    for pattern in _NOISE:
        text = pattern.sub("", text)
    text = text.strip(" :.")
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "…"


@contextmanager
def blame_model(what: str, where: str, fix: str | None = None) -> Iterator[None]:
    """Turns whatever a library raises about the model inside the block into a UserError.

    onnx's C++ code raises its own errors, but also RuntimeError, ValueError, TypeError, IndexError,
    UnicodeDecodeError and DecodeError for damaged models.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except MemoryError as error:
        raise UserError(f"{what}: it takes more memory than there is", where, fix) from error
    except Exception as error:
        reason = clean(error) or "the file is damaged"
        raise UserError(f"{what}: {reason}", where, fix) from error
