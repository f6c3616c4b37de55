"""Our own converters, by operator of the default domain; they come before TVM's.

A converter takes the block builder, the ONNX node, its inputs as Relax expressions (None where one is
left out) and its attributes, and returns the Relax expression of its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .clip import clip
from .constant_of_shape import constant_of_shape
from .is_inf import is_inf
from .lp_normalization import lp_normalization
from .onehot import one_hot
from .pad import pad
from .power import power
from .quantize import dequantize, quantize
from .range import range_of_numbers
from .resize import resize

Converter = Callable[[Any, Any, list[Any], dict[str, Any]], Any]

CONVERTERS: dict[str, Converter] = {
    "Clip": clip,
    "ConstantOfShape": constant_of_shape,
    "DequantizeLinear": dequantize,
    "IsInf": is_inf,
    "LpNormalization": lp_normalization,
    "OneHot": one_hot,
    "Pad": pad,
    "Pow": power,
    "QuantizeLinear": quantize,
    "Range": range_of_numbers,
    "Resize": resize,
}
