"""Our own converters, by operator of the default domain; they come before TVM's.

A converter takes the block builder, the ONNX node, its inputs as Relax expressions (None where one is
left out) and its attributes, and returns the Relax expression of its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bit_cast import bit_cast
from .clip import clip
from .constant_of_shape import constant_of_shape
from .counted import positions, suppress, whole
from .dropout import dropout
from .equal import equal
from .instance_normalization import instance_normalization
from .is_inf import is_inf
from .lp_normalization import lp_normalization
from .mish import mish
from .onehot import one_hot
from .pad import pad
from .power import power
from .range import range_of_numbers
from .reduce_log_sum_exp import reduce_log_sum_exp
from .resize import resize
from .sign import sign
from .thresholded_relu import thresholded_relu

Converter = Callable[[Any, Any, list[Any], dict[str, Any]], Any]

CONVERTERS: dict[str, Converter] = {
    "BitCast": bit_cast,
    "Clip": clip,
    "ConstantOfShape": constant_of_shape,
    "Dropout": dropout,
    "Equal": equal,
    "InstanceNormalization": instance_normalization,
    "IsInf": is_inf,
    "LpNormalization": lp_normalization,
    "Mish": mish,
    "OneHot": one_hot,
    "Pad": pad,
    "Pow": power,
    "Range": range_of_numbers,
    "ReduceLogSumExp": reduce_log_sum_exp,
    "Resize": resize,
    "Sign": sign,
    "ThresholdedRelu": thresholded_relu,
}

# For what counted.py makes.
COUNTED_CONVERTERS: dict[str, Converter] = {"Positions": positions, "Suppress": suppress, "Whole": whole}
