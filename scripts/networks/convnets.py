"""Image classifiers of convolutions, as torchvision and timm define them: `image` [1,3,224,224] → `scores` [1,1000]."""

from __future__ import annotations

from collections.abc import Callable

from scripts.networks.graph import RELU_GAIN, Graph, Value

IMAGE = (1, 3, 224, 224)
CLASSES = 1000
RESIDUAL_GAIN = 0.5  # of a branch's last layer: a sum of many branches must not grow
SWISH_GAIN = 1.7  # as ReLU's, for hard-swish
GATE_GAIN = 2  # makes up for gates that are near a half

Activation = Callable[[Value], Value]


def resnet18(g: Graph) -> dict[str, Value]:
    """He et al., arXiv:1512.03385; its batch normalisation is kept as nodes."""

    def conv_norm(x: Value, channels: int, kernel: int, stride: int, gain: float = RELU_GAIN) -> Value:
        return g.batch_norm(g.conv(x, channels, kernel, stride, gain=gain, bias=False))

    x = g.max_pool(g.relu(conv_norm(g.input("image", IMAGE), 64, 7, 2)), 3, 2)
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            with g.scope(f"layer{stage}.{block}"):
                y = conv_norm(g.relu(conv_norm(x, channels, 3, stride)), channels, 3, 1, RESIDUAL_GAIN)
                shortcut = conv_norm(x, channels, 1, 2, 1) if stride == 2 else x
                x = g.relu(g.add(y, shortcut))
    return _classify(g, x)


def resnet50(g: Graph) -> dict[str, Value]:
    """He et al., arXiv:1512.03385, with the stride in the 3x3 convolution as torchvision has it."""
    x = g.max_pool(g.relu(g.conv(g.input("image", IMAGE), 64, 7, 2)), 3, 2)
    for stage, (channels, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            with g.scope(f"layer{stage}.{block}"):
                y = g.relu(g.conv(g.relu(g.conv(x, channels)), channels, 3, stride))
                y = g.conv(y, 4 * channels, gain=RESIDUAL_GAIN)
                shortcut = g.conv(x, 4 * channels, stride=stride, gain=1) if block == 0 else x
                x = g.relu(g.add(y, shortcut))
    return _classify(g, x)


def mobilenet_v2(g: Graph) -> dict[str, Value]:
    """Sandler et al., arXiv:1801.04381, width 1."""
    x = g.relu6(g.conv(g.input("image", IMAGE), 32, 3, 2))
    # Expansion, channels, blocks, stride of the first.
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for stage, (expansion, channels, blocks, stride) in enumerate(table):
        for block in range(blocks):
            with g.scope(f"features.{stage}.{block}"):
                hidden = expansion * x.shape[1]
                x = _inverted_residual(g, x, hidden, channels, 3, 1 if block else stride, g.relu6)
    return _classify(g, g.relu6(g.conv(x, 1280)))


def mobilenet_v3_large(g: Graph) -> dict[str, Value]:
    """Howard et al., arXiv:1905.02244, table 1."""
    x = g.hard_swish(g.conv(g.input("image", IMAGE), 16, 3, 2, gain=SWISH_GAIN))
    # Kernel, hidden channels, channels, squeeze and excitation, hard-swish (else ReLU), stride.
    table = (
        (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
    )  # fmt: skip
    for block, (kernel, hidden, channels, squeeze, swish, stride) in enumerate(table):
        with g.scope(f"features.{block}"):
            activation = g.hard_swish if swish else g.relu
            x = _inverted_residual(g, x, hidden, channels, kernel, stride, activation, squeeze)
    x = g.flatten(g.global_pool(g.hard_swish(g.conv(x, 960, gain=SWISH_GAIN))))
    return {"scores": g.gemm(g.hard_swish(g.gemm(x, 1280, SWISH_GAIN)), CLASSES)}


def efficientnet_lite0(g: Graph) -> dict[str, Value]:
    """Tan and Le, arXiv:1905.11946, in TensorFlow's "lite" form: ReLU6, no squeeze and excitation."""
    x = g.relu6(g.conv(g.input("image", IMAGE), 32, 3, 2))
    # Expansion, kernel, channels, blocks, stride of the first.
    table = (
        (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2),
        (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1),
    )  # fmt: skip
    for stage, (expansion, kernel, channels, blocks, stride) in enumerate(table):
        for block in range(blocks):
            with g.scope(f"blocks.{stage}.{block}"):
                hidden = expansion * x.shape[1]
                x = _inverted_residual(g, x, hidden, channels, kernel, 1 if block else stride, g.relu6)
    return _classify(g, g.relu6(g.conv(x, 1280)))


def _inverted_residual(
    g: Graph,
    x: Value,
    hidden: int,
    channels: int,
    kernel: int,
    stride: int,
    activation: Activation,
    squeeze: bool = False,
) -> Value:
    """Expansion where there is one, depthwise convolution, projection, and the sum where the shape stays."""
    adds = stride == 1 and channels == x.shape[1]
    inner = SWISH_GAIN if activation == g.hard_swish else RELU_GAIN
    outer = RESIDUAL_GAIN if adds else 1
    y = x if hidden == x.shape[1] else activation(g.conv(x, hidden, gain=inner))
    y = activation(g.conv(y, hidden, kernel, stride, groups=hidden, gain=inner))
    if squeeze:
        y, outer = _squeeze_excite(g, y), outer * GATE_GAIN
    y = g.conv(y, channels, gain=outer)
    return g.add(x, y) if adds else y


def _squeeze_excite(g: Graph, x: Value) -> Value:
    """Hu et al., arXiv:1709.01507, with a quarter of the channels, rounded to eights but by no more than a tenth."""
    channels = x.shape[1]
    quarter = channels // 4
    reduced = max(8, (quarter + 4) // 8 * 8)
    reduced += 8 if reduced < 0.9 * quarter else 0
    y = g.conv(g.relu(g.conv(g.global_pool(x), reduced)), channels)
    return g.mul(g.node("HardSigmoid", y, alpha=1 / 6, beta=0.5), x)


def _classify(g: Graph, x: Value) -> dict[str, Value]:
    return {"scores": g.gemm(g.flatten(g.global_pool(x)), CLASSES)}
