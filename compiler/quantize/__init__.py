"""Weights of fewer bits, and fewer weights: everything here takes ONNX models and gives ONNX models."""

from .prune import prune

__all__ = ["prune"]
