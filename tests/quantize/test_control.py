"""Accuracy of quantised models: the layers that lose most, and models kept within a drop."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import load_model
from compiler.quantize.control import Accuracy
from compiler.quantize.insert import quantize_model
from compiler.quantize.layers import Layer
from compiler.quantize.observe import observe
from compiler.quantize.post_training import Quantised, quantize
from compiler.quantize.settings import Settings
from compiler.verify.reference import run_reference
from tests.quantize.lopsided import BAD, lopsided, pictures

SAMPLES = pictures(48)


@pytest.fixture(scope="module")
def free() -> Quantised:
    return quantize(load_model(lopsided()), {}, Settings(), SAMPLES)


def test_the_bad_layer_stands_first_and_the_loss_is_a_warning(free: Quantised) -> None:
    assert free.accuracy is not None
    first, *others = free.accuracy.layers
    assert first.name == BAD
    assert all(layer.alone_snr > first.alone_snr + 20 for layer in others)
    assert {layer.name for layer in others} == {"conv1", "conv2", "conv4", "scores"}
    # Behind it the noise is everybody's, though alone they do well.
    last = next(layer for layer in others if layer.name == "scores")
    assert last.snr < first.alone_snr + 10 < last.alone_snr
    assert free.warning is not None
    assert "--max-drop" in free.warning


def test_layers_are_those_of_a_reference(free: Quantised) -> None:
    """The same sums from onnxruntime or onnx, over the graphs themselves."""
    assert free.accuracy is not None
    measured = {layer.name: layer for layer in free.accuracy.layers}["scores"]
    signal = noise = product = power = 0.0
    for one in SAMPLES[np.linspace(0, len(SAMPLES) - 1, 32).round().astype(int)]:
        a, b = (run_reference(m.proto, {"x": one[None]})[1]["y"].astype(float) for m in (free.model, free.floats))
        signal, noise, product, power = (
            signal + (b * b).sum(),
            noise + ((a - b) ** 2).sum(),
            product + (a * b).sum(),
            power + (a * a).sum(),
        )
    assert measured.snr == pytest.approx(10 * np.log10(signal / noise), abs=0.5)
    assert measured.cosine == pytest.approx(product / np.sqrt(signal * power), abs=0.01)


def test_what_a_layer_alone_costs_the_outputs_is_that_of_a_reference(free: Quantised) -> None:
    assert free.accuracy is not None
    bad, *others = free.accuracy.layers
    statistics = observe(free.floats, ({"x": one[None]} for one in SAMPLES))
    alone = quantize_model(free.floats, Settings(keep=frozenset(layer.name for layer in others)), statistics)
    taken = SAMPLES[np.linspace(0, len(SAMPLES) - 1, 32).round().astype(int)][::8]
    signal = noise = 0.0
    for one in taken:
        a, b = (run_reference(m.proto, {"x": one[None]})[1]["y"].astype(float) for m in (alone, free.floats))
        signal, noise = signal + (b * b).sum(), noise + ((a - b) ** 2).sum()
    assert bad.output_snr == pytest.approx(10 * np.log10(signal / noise), abs=0.5)
    assert all(layer.output_snr > bad.output_snr + 20 for layer in others)


def test_the_bad_layer_returns_to_float() -> None:
    told: list[str] = []
    quantised = quantize(load_model(lopsided()), {}, Settings(), SAMPLES, "top1", 0.1, told.append)
    found = quantised.accuracy
    assert found is not None
    assert found.kept == (BAD,)
    assert found.reached
    assert found.without_control is not None
    assert found.float_score == 1.0 and found.drop <= 0.1 < found.float_score - found.without_control
    assert found.kept_macs == pytest.approx(9216 / 130752)
    assert quantised.warning is None
    assert [text.split(" with ")[-1] for text in told if text.startswith("scored")] == [
        f"scored {found.without_control:.4f}",
        "1 layers returned to float",
    ]


def test_the_scores_are_those_of_the_model_returned() -> None:
    labels = np.array([run_reference(lopsided(), {"x": one[None]})[1]["y"].argmax() for one in SAMPLES])
    labels[:12] = (labels[:12] + 1) % 5  # a quarter of the truth is not what the float model says
    made = quantize(load_model(lopsided()), {}, Settings(), {"x": SAMPLES, "labels": labels}, None, 0.1)
    assert made.accuracy is not None
    assert made.accuracy.against == "labels"
    assert made.accuracy.float_score == pytest.approx(0.75)
    right = [run_reference(made.model.proto, {"x": one[None]})[1]["y"].argmax() for one in SAMPLES] == labels
    assert made.accuracy.score == pytest.approx(np.mean(right), abs=1.5 / len(SAMPLES))


def test_a_drop_that_cannot_be_kept_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A metric that only floats satisfy: the error of a single sample must be nothing."""
    file = tmp_path_factory.mktemp("metric") / "own.py"
    file.write_text(
        "import onnx.reference\nimport numpy as np\n"
        "def exact(run, samples):\n"
        "    feeds = next(iter(samples))\n"
        f"    model = onnx.reference.ReferenceEvaluator({str(file.parent / 'm.onnx')!r})\n"
        "    return -float(np.abs(run(feeds)['y'] - model.run(None, feeds)[0]).max())\n"
    )
    import onnx

    onnx.save(lopsided(1.0), file.parent / "m.onnx")
    made = quantize(load_model(lopsided(1.0)), {}, Settings(), SAMPLES[:4], f"{file}:exact", 1e-4)
    found = made.accuracy
    assert found is not None
    assert not found.reached
    assert len(found.kept) == 5 and found.kept_macs == 1.0
    with pytest.raises(UserError, match="exact falls by more than"):
        made.compiled(None)  # type: ignore[arg-type]


def test_without_products_left_a_drop_is_not_reached() -> None:
    def accuracy(kept: tuple[str, ...], drop: float) -> Accuracy:
        layers = tuple(
            Layer(name, "Conv", macs, 1.0, 1.0, 1.0, 1.0, 1.0) for name, macs in (("a", 5), ("b", 5), ("c", 0))
        )
        return Accuracy("top1", "labels", 1, 1.0, 1.0 - drop, 0.5, 0.01, kept, (), 0.0, 1, layers)

    assert accuracy((), 0.0).reached
    assert accuracy(("a",), 0.01).reached
    assert not accuracy(("a",), 0.02).reached
    assert not accuracy(("a", "b"), 0.0).reached


def test_data_are_needed_unless_ranges_are_found_in_each_run() -> None:
    with pytest.raises(UserError, match="sample data are missing"):
        quantize(load_model(lopsided()), {}, Settings(), None)
    with pytest.raises(UserError, match="sample data are missing"):
        quantize(load_model(lopsided()), {}, Settings("int8-dynamic"), None, max_drop=0.1)
    assert quantize(load_model(lopsided()), {}, Settings("int8-dynamic"), None).accuracy is None
