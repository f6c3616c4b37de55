#!/usr/bin/env python3
"""Writes well-known networks as ONNX files, with seeded random weights: `standard_models.py FOLDER [--only NAME…]`.

Speed, memory and support of operators depend on the architecture alone, so that these files stand for the published
models. The same version of NumPy writes the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.networks import convnets, transformers, yolo
from scripts.networks.graph import Graph, Value

MODELS: dict[str, Callable[[Graph], dict[str, Value]]] = {
    "resnet18": convnets.resnet18,
    "resnet50": convnets.resnet50,
    "mobilenet_v2": convnets.mobilenet_v2,
    "mobilenet_v3_large": convnets.mobilenet_v3_large,
    "efficientnet_lite0": convnets.efficientnet_lite0,
    "yolov8n": yolo.yolov8n,
    "vit_tiny": transformers.vit_tiny,
    "bert_tiny": transformers.bert_tiny,
}


def build(name: str, seed: int = 0) -> tuple[onnx.ModelProto, int]:
    """A network of MODELS, and its multiply-adds."""
    graph = Graph(name, seed)
    outputs = MODELS[name](graph)
    return graph.finish(**outputs), graph.macs


def count_parameters(model: onnx.ModelProto) -> int:
    return sum(int(onnx.numpy_helper.to_array(weight).size) for weight in model.graph.initializer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        model, macs = build(name)
        onnx.save(model, options.folder / f"{name}.onnx")
        print(f"{name}: {count_parameters(model) / 1e6:.2f} M parameters, {macs / 1e9:.3f} G multiply-adds", flush=True)


if __name__ == "__main__":
    main()
