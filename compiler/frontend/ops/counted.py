"""What counted.py makes of operators whose results have no fixed size."""

from __future__ import annotations

from typing import Any


def positions(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """flags bool [n] → where they are set, int64 [n] with zeros behind, and how many, int64 []."""
    from ...operators.positions import positions as make

    return bb.normalize(make(inputs[0]))


def suppress(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """See operators/suppression.py; the inputs are its arguments."""
    from ...operators.suppression import suppress as make

    return bb.normalize(make(inputs, int(attrs["shape"][0]), bool(attrs["centred"])))


def whole(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """All entries of the input, those too that were not meant."""
    return inputs[0]
