"""Why cases do not pass: in groups, and what is expected of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from .check import Results

# The first pattern that is found in a reason decides.
_GROUPS = (
    ("crashes", r"^crash"),
    ("errors inside", r"^error"),
    ("16-bit floats rounded elsewhere", r"steps of b?float16"),
    ("wrong results", r"^output|^\d+ outputs"),
    ("strings", r"strings|StringNormalizer|StringConcat|StringSplit|RegexFullMatch|TfIdf"),
    ("sequences, optionals and maps", r"Sequence|is an? (sequence|optional|map)|Optional"),
    ("training", r"training"),
    ("random numbers", r"Random|Bernoulli|Multinomial"),
    ("types of 8 bits and fewer", r"elements are (float[48]|u?int[24]\b)|: Cast\w* .*no tensor of numbers"),
    ("complex numbers", r"elements are complex"),
    ("results whose size depends on the data", r"depends on the data"),
    ("old operator sets", r"operator set \d+ is"),
    ("operators without a converter", r"no converter yet|domain '"),
)
_OTHER = "refused for another reason"
GROUPS = (*(name for name, _pattern in _GROUPS), _OTHER)
_LONGEST = 160


@dataclass(frozen=True)
class Expectations:
    """Which cases are known not to pass.

    Attributes:
        onnx: the version whose cases they are.
        groups: by group and by reason, the cases' names.
    """

    onnx: str
    groups: Mapping[str, Mapping[str, Sequence[str]]]

    @classmethod
    def load(cls, path: Path) -> Expectations:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"onnx": self.onnx, "groups": self.groups}, indent=1) + "\n", encoding="utf-8")

    @property
    def failing(self) -> dict[str, tuple[str, str]]:
        """Group and reason by case."""
        return {
            case: (group, reason)
            for group, reasons in self.groups.items()
            for reason, cases in reasons.items()
            for case in cases
        }

    def deviations(self, results: Results) -> list[str]:
        """A line for each case that passes, fails, or fails in a worse way than expected."""
        lines, failing = [], self.failing
        for case, reason in results.items():
            group, expected = failing.get(case, (None, None))
            if reason is None:
                if group:
                    lines.append(f"{case} passes now: take it off the list")
            elif group is None:
                lines.append(f"{case} does not pass: {reason}")
            elif kind_of(reason) != kind_of(str(expected)):
                lines.append(f"{case} does not pass for another reason than before: {reason}; it was: {expected}")
        return lines


def expect(results: Results) -> Expectations:
    """The expectations that these results of all cases meet."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name in GROUPS:
        for case, reason in results.items():
            if reason is not None and group_of(reason) == name:
                groups.setdefault(name, {}).setdefault(summary(reason), []).append(case)
    return Expectations(onnx.__version__, groups)


def group_of(reason: str) -> str:
    """The group of what `check` says of a case."""
    return next((name for name, pattern in _GROUPS if re.search(pattern, reason)), _OTHER)


def kind_of(reason: str) -> str:
    """How a case does not pass: refused, error, crash, or differs."""
    found = re.match(r"refused|error|crash", reason)
    return found.group() if found else "differs"


def summary(reason: str) -> str:
    """A reason without what is of one case alone: names of values, numbers."""
    text = re.sub(r"(?<=[\w.]) '[^']*'(?=:)", "", reason)
    text = re.sub(r"\d+ of \d+ (values differ[^,]*).*", r"\1", text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
