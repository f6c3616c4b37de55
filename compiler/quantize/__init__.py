"""Post-training quantisation: a float model and sample data in, a model with QuantizeLinear and DequantizeLinear out.

    floats = float_model(load_model("model.onnx"))              # canonical, of fixed shapes, every node named
    samples = load_calibration("pictures/", floats)             # iterable of feeds
    statistics = observe(floats, samples)                       # where the values of its tensors lie
    quantised = quantize_model(floats, Settings(), statistics)  # as often as wanted, with other settings

`prune` makes weights zero, `prune_within` as far as a metric allows. Everything here takes ONNX models and gives ONNX
models; nothing imports TVM before a model is run.
"""

from .prune import prune
from .prune_within import prune_within

__all__ = ["prune", "prune_within"]
