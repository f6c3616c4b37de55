"""Choices between algorithms that graph passes make, which a tuner may decide otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .rewrite import operator_of

_DIGITS = 32
_ATTRIBUTES = ("strides", "dilation", "groups")


@dataclass(frozen=True)
class Choice:
    """One that was made.

    Attributes:
        text: what it is about, for people; the kind of the choice comes first.
        taken: what the pass took.
        options: what it could take.
    """

    text: str
    taken: int
    options: tuple[int, ...]

    @property
    def kind(self) -> str:
        """What is chosen."""
        return self.text.split()[0]


@dataclass
class Choices:
    """What a tuner decided, and what passes asked.

    Attributes:
        decided: by key.
        made: by key.
    """

    decided: Mapping[str, int] = field(default_factory=dict)
    made: dict[str, Choice] = field(default_factory=dict)

    def pick(self, kind: str, call: Any, default: int, options: Sequence[int]) -> int:
        """What to take for an operator: the tuner's decision if it is possible, else the default.

        Equal operators, of one model or of several, have one decision.

        Args:
            kind: what is chosen.
            call: the operator, before the pass changes it.
        """
        text = " ".join([kind, operator_of(call).removeprefix("relax."), *map(_tensor, call.args), *_attributes(call)])
        key = choice_key(text)
        decided = self.decided.get(key, default)
        taken = decided if decided in options else default
        self.made[key] = Choice(text, taken, tuple(options))
        return taken


def choice_key(text: str) -> str:
    """32 hexadecimal digits for a choice's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _tensor(arg: Any) -> str:
    return f"{arg.ty.dtype}[{'x'.join(str(int(d)) for d in arg.ty.shape)}]"


def _attributes(call: Any) -> list[str]:
    found = []
    for name in _ATTRIBUTES:
        value = getattr(call.attrs, name, None)
        if value is not None:
            numbers = [int(value)] if isinstance(value, int) else [int(v) for v in value]
            found.append(f"{name} {','.join(map(str, numbers))}")
    return found
