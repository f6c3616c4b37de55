"""What a user can do about a node that cannot be compiled."""

from __future__ import annotations

from ..frontend.support import Obstacle

# A text that reasons of a kind contain, and the advice; the first that fits.
_ADVICE = (
    ("string", "do what looks into strings before the model, and feed the words, or numbers for them"),
    ("ai.onnx.ml", "export with a newer version of the converter, or compute this part before the model"),
    ("random", "export the model in evaluation mode, or feed the random numbers as an input"),
    ("training", "export the model in evaluation mode (model.eval() before torch.onnx.export)"),
    ("gradient", "export the model without its training part"),
    ("sequence", "let the model return tensors: concatenate the list's elements at its end"),
    ("depends on the data", "fix the size with --shape, or end the graph before this node and do the rest outside"),
    ("different shapes", "make both branches return one shape, by padding the smaller"),
    ("changes its shape", "give the loop a tensor of its largest size from the beginning"),
    ("of domain", "export with the standard's operators (for onnxruntime: before its optimiser)"),
    ("no such operator", "export again with the newest operator set that the exporter knows"),
    ("float8", "keep these tensors in float16 or int8"),
    ("int4", "keep these tensors in int8"),
)
_USUAL = "export with a newer operator set, or cut the graph before it (onnx.utils.extract_model)"


def way_out(obstacle: Obstacle) -> str:
    """One sentence."""
    text = f"{obstacle.operator} {obstacle.reason}".lower()
    return next((advice for part, advice in _ADVICE if part in text), _USUAL)
