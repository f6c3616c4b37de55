"""Our own converters, by operator of the default domain; they come before TVM's.

A converter takes the block builder, the ONNX node, its inputs as Relax expressions (None where one is
left out) and its attributes, and returns the Relax expression of its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .lp_normalization import lp_normalization
from .onehot import one_hot
from .power import power

Converter = Callable[[Any, Any, list[Any], dict[str, Any]], Any]

CONVERTERS: dict[str, Converter] = {"LpNormalization": lp_normalization, "OneHot": one_hot, "Pow": power}
