"""Why cases do not pass, in groups."""

from __future__ import annotations

import re

# The first pattern that is found in a reason decides.
_GROUPS = (
    ("crashes", r"^crash"),
    ("errors inside", r"^error"),
    ("wrong results", r"^output|^\d+ outputs"),
    ("strings", r"strings|StringNormalizer|StringConcat|StringSplit|RegexFullMatch|TfIdf"),
    ("sequences, optionals and maps", r"Sequence|is an? (sequence|optional|map)|Optional"),
    ("training", r"training"),
    ("random numbers", r"Random|Bernoulli|Multinomial"),
    ("types of 8 bits and fewer", r"elements are (float[48]|u?int[24]\b)|: Cast\w* .*no tensor of numbers"),
    ("complex numbers", r"elements are complex"),
    ("results whose size depends on the data", r"depends on the data"),
    ("old operator sets", r"operator set \d+ (is too old|is not supported)|of operator set"),
    ("operators without a converter", r"no converter yet|domain '"),
)
_OTHER = "refused for another reason"
GROUPS = (*(name for name, _pattern in _GROUPS), _OTHER)


def group_of(reason: str) -> str:
    """The group of what `check` says of a case."""
    return next((name for name, pattern in _GROUPS if re.search(pattern, reason)), _OTHER)
