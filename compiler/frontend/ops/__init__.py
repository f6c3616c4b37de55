"""Our own converters, by operator of the default domain; they come before TVM's.

A converter takes the block builder, the ONNX node, its inputs as Relax expressions (None where one is
left out) and its attributes, and returns the Relax expression of its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..domains import COUNTED, PROGRAMS
from .affine_grid import affine_grid
from .bit_cast import bit_cast
from .bit_shift import bit_shift
from .celu import celu
from .clip import clip
from .col2im import col2im
from .constant_of_shape import constant_of_shape
from .conv_transpose import conv_transpose
from .counted import positions, suppress, whole
from .coupling import coupling
from .cumulative import cumulative
from .deform_conv import deform_conv
from .determinant import determinant
from .distances import distances
from .dropout import dropout
from .equal import equal
from .extremum import extremum
from .eye_like import eye_like
from .few_bits import few_bits
from .forest import forest
from .fourier import dft, stft
from .instance_normalization import instance_normalization
from .integer_products import conv_integer, matmul_integer
from .is_inf import is_inf
from .lp_normalization import lp_normalization
from .max_pool import max_pool, max_unpool
from .max_roi_pool import max_roi_pool
from .mish import mish
from .modulo import modulo
from .of_several import of_several
from .onehot import one_hot
from .pad import pad
from .power import power
from .quantize import dequantize, dynamic_quantize, quantize
from .range import range_of_numbers
from .recurrent import recurrent, recurrent_of_integers
from .reduce_log_sum_exp import reduce_log_sum_exp
from .resize import resize
from .reverse_sequence import reverse_sequence
from .roi_align import roi_align
from .sample import sample
from .sign import sign
from .tensor_scatter import tensor_scatter
from .thresholded_relu import thresholded_relu
from .tile import tile

Converter = Callable[[Any, Any, list[Any], dict[str, Any]], Any]

CONVERTERS: dict[str, Converter] = {
    "AffineGrid": affine_grid,
    "BitCast": bit_cast,
    "BitShift": bit_shift,
    "Celu": celu,
    "Clip": clip,
    "Col2Im": col2im,
    "ConstantOfShape": constant_of_shape,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "CumProd": cumulative,
    "CumSum": cumulative,
    "DFT": dft,
    "DeformConv": deform_conv,
    "DequantizeLinear": dequantize,
    "Det": determinant,
    "Dropout": dropout,
    "DynamicQuantizeLinear": dynamic_quantize,
    "Equal": equal,
    "EyeLike": eye_like,
    "GRU": recurrent,
    "InstanceNormalization": instance_normalization,
    "IsInf": is_inf,
    "LSTM": recurrent,
    "LpNormalization": lp_normalization,
    "MatMulInteger": matmul_integer,
    "Max": of_several,
    "MaxPool": max_pool,
    "MaxRoiPool": max_roi_pool,
    "MaxUnpool": max_unpool,
    "Mean": of_several,
    "Min": of_several,
    "Mish": mish,
    "Mod": modulo,
    "OneHot": one_hot,
    "Pad": pad,
    "Pow": power,
    "QuantizeLinear": quantize,
    "RNN": recurrent,
    "Range": range_of_numbers,
    "ReduceLogSumExp": reduce_log_sum_exp,
    "ReduceMax": extremum,
    "ReduceMin": extremum,
    "Resize": resize,
    "ReverseSequence": reverse_sequence,
    "RoiAlign": roi_align,
    "STFT": stft,
    "Sign": sign,
    "Sum": of_several,
    "TensorScatter": tensor_scatter,
    "ThresholdedRelu": thresholded_relu,
    "Tile": tile,
}

# By domain, those for nodes that the frontend makes.
OWN_CONVERTERS: dict[str, dict[str, Converter]] = {
    COUNTED: {"Positions": positions, "Suppress": suppress, "Whole": whole},
    PROGRAMS: {
        "Coupling": coupling,
        "Distances": distances,
        "FewBits": few_bits,
        "Forest": forest,
        "GRU": recurrent_of_integers,
        "LSTM": recurrent_of_integers,
        "RNN": recurrent_of_integers,
        "Sample": sample,
    },
}
