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
from .range import range_of_numbers
from .recurrent import recurrent
from .resize import resize

Converter = Callable[[Any, Any, list[Any], dict[str, Any]], Any]

CONVERTERS: dict[str, Converter] = {
    "Clip": clip,
    "ConstantOfShape": constant_of_shape,
    "IsInf": is_inf,
    "GRU": recurrent,
    "LSTM": recurrent,
    "LpNormalization": lp_normalization,
    "OneHot": one_hot,
    "Pad": pad,
    "Pow": power,
    "RNN": recurrent,
    "Range": range_of_numbers,
    "Resize": resize,
}
