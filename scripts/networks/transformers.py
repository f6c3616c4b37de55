"""Transformers: a ViT for images and a BERT for text."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from scripts.networks.graph import Graph, Value

VOCABULARY, POSITIONS = 30522, 512
RESIDUAL_GAIN = 0.5


def vit_tiny(g: Graph) -> dict[str, Value]:
    """Dosovitskiy et al., arXiv:2010.11929, at DeiT's smallest size: `image` [1,3,224,224] → `scores` [1,1000]."""
    patch, width, layers, heads, epsilon = 16, 192, 12, 3, 1e-6
    x = g.conv(g.input("image", (1, 3, 224, 224)), width, patch, patch, gain=1, padding=0)
    x = g.transpose(g.reshape(x, 1, width, -1), 0, 2, 1)
    x = g.concat([g.normal("cls_token", (1, 1, width), 1), x])
    x = g.add(x, g.normal("pos_embed", (1, x.shape[1], width), 0.5))
    for layer in range(layers):
        with g.scope(f"blocks.{layer}"):
            x = g.add(x, _joint_attention(g, g.layer_norm(x, epsilon), heads))
            x = g.add(x, _perceptron(g, g.layer_norm(x, epsilon)))
    return {"scores": g.gemm(g.select(g.layer_norm(x, epsilon), 0, axis=1), 1000)}


def bert_tiny(g: Graph) -> dict[str, Value]:
    """Devlin et al., arXiv:1810.04805, at the smallest size of Turc et al., arXiv:1908.08962.

    `input_ids` and `attention_mask` int64 [1,128] → `last_hidden_state` [1,128,128], `pooler_output` [1,128].
    """
    length, width, layers, heads, epsilon = 128, 128, 2, 2, 1e-12
    ids = g.input("input_ids", (1, length), TensorProto.INT64)
    mask = g.input("attention_mask", (1, length), TensorProto.INT64)
    words, positions, types = (g.normal("embeddings", (n, width), 0.7) for n in (VOCABULARY, POSITIONS, 2))
    shape = (1, length, width)
    x = g.node("Gather", words, ids, shape=shape)
    x = g.add(x, g.node("Gather", types, g.constant(np.zeros((1, length)), np.int64), shape=shape))
    x = g.add(x, g.node("Gather", positions, g.constant(np.arange(length)[None], np.int64), shape=shape))
    x = g.layer_norm(x, epsilon)

    mask = g.node("Unsqueeze", mask, g.constant([1, 2], np.int64), shape=(1, 1, 1, length))
    hidden = g.sub(g.constant(1.0), g.node("Cast", mask, to=TensorProto.FLOAT))
    penalty = g.mul(hidden, g.constant(np.finfo(np.float32).min))

    for layer in range(layers):
        with g.scope(f"encoder.layer.{layer}"):
            x = g.layer_norm(g.add(_separate_attention(g, x, heads, penalty), x), epsilon)
            x = g.layer_norm(g.add(_perceptron(g, x), x), epsilon)
    pooled = g.node("Tanh", g.gemm(g.select(x, 0, axis=1), width))
    return {"last_hidden_state": x, "pooler_output": pooled}


def _joint_attention(g: Graph, x: Value, heads: int) -> Value:
    """Self-attention as timm writes it: one product for queries, keys and values [1,T,C] → [1,T,C]."""
    n, tokens, width = x.shape
    joint = g.reshape(g.linear(x, 3 * width), n, tokens, 3, heads, width // heads)
    joint = g.transpose(joint, 2, 0, 3, 1, 4)
    query, key, value = (g.select(joint, index, axis=0) for index in range(3))
    query = g.mul(query, g.constant((width // heads) ** -0.5))
    return _attend(g, g.matmul(query, g.transpose(key, 0, 1, 3, 2)), value)


def _separate_attention(g: Graph, x: Value, heads: int, penalty: Value) -> Value:
    """Self-attention as Hugging Face's BERT writes it: three products, and a mask that is added [1,T,C] → [1,T,C]."""
    n, tokens, width = x.shape
    query, key, value = (g.reshape(g.linear(x, width), n, tokens, heads, width // heads) for _ in range(3))
    scores = g.matmul(g.transpose(query, 0, 2, 1, 3), g.transpose(key, 0, 2, 3, 1))
    scores = g.div(scores, g.constant(math.sqrt(width // heads)))
    return _attend(g, g.add(scores, penalty), g.transpose(value, 0, 2, 1, 3))


def _attend(g: Graph, scores: Value, value: Value) -> Value:
    """Softmax of the scores [1,H,T,T], product with the values [1,H,T,D], projection → [1,T,H*D]."""
    n, heads, tokens, depth = value.shape
    mixed = g.matmul(g.node("Softmax", scores, axis=-1), value)
    mixed = g.reshape(g.transpose(mixed, 0, 2, 1, 3), n, tokens, heads * depth)
    return g.linear(mixed, heads * depth, RESIDUAL_GAIN)


def _perceptron(g: Graph, x: Value) -> Value:
    width = x.shape[-1]
    return g.linear(g.gelu(g.linear(x, 4 * width)), width, RESIDUAL_GAIN)
