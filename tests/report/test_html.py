"""The report on precisions: one page that loads nothing, with pictures that are well-formed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

from compiler.quantize.control import Accuracy
from compiler.quantize.layers import Layer
from compiler.report.html import precision_report
from compiler.report.precision import Variant

NAME = "/block<1>/\"conv\" & 'more', which is longer than a picture has room for"


def accuracy(**changes: Any) -> dict[str, Any]:
    layers = (
        Layer(NAME, "Conv", 2_000_000, 4.0, 0.9, 5.0, 0.95, 3.0),
        Layer("good", "Gemm", 1_000, 150.0, 1.0, -50.0, 1.0, 20.0),
    )
    given: dict[str, Any] = {
        "metric": "top1",
        "against": "labels",
        "samples": 10,
        "float_score": 0.9,
        "score": 0.88,
        "without_control": 0.5,
        "max_drop": 0.05,
        "kept": (NAME,),
        "spared": (),
        "kept_macs": 0.25,
        "trials": 2,
        "layers": layers,
    }
    return Accuracy(**given | changes).to_dict()


VARIANTS = [
    Variant("fp32", 2048, 1024, 0.002, 1, 0.9).to_dict(),
    Variant("fp16", note="no <such> thing").to_dict(),
    Variant("int8", 1024, 256, 0.001, 1, 0.88).to_dict(),
]


class Loads(HTMLParser):
    """Collects what a browser would fetch or run, and checks that every element ends."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe") or any(
            key in ("src", "href") or key.startswith("on") for key, _ in attrs
        ):
            self.loads.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


def pictures(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def bars(picture: ElementTree.Element) -> list[float]:
    return [float(rect.attrib["width"]) for rect in picture.iter("{http://www.w3.org/2000/svg}rect")]


def test_the_page_stands_alone() -> None:
    page = precision_report("a <title>", {"model": "m&m"}, VARIANTS, accuracy())
    parsed = Loads(page)
    assert parsed.loads == [] and parsed.open == []
    assert "a &lt;title&gt;" in page and "m&amp;m" in page and "no &lt;such&gt; thing" in page
    assert "<title>a <title>" not in page and "block<1>" not in page


def test_bars_are_as_long_as_the_values() -> None:
    page = precision_report("t", {}, VARIANTS, accuracy())
    size, latency, score, layers = pictures(page)
    for picture, ratio in ((size, 2), (latency, 2), (score, 0.9 / 0.88)):
        longer, shorter = bars(picture)
        assert abs(longer / shorter - ratio) < 0.01
    # 5 dB of a scale that ends at 80 dB, and nothing of less than 0 dB.
    worst, beyond = bars(layers)
    assert abs(worst / (860 - 300 - 130) - 5 / 80) < 0.01 and beyond == 0
    assert all(0 <= float(x.attrib["x1"]) <= 860 for x in layers.iter("{http://www.w3.org/2000/svg}line"))


def test_what_control_did_is_told() -> None:
    kept = precision_report("t", {}, VARIANTS, accuracy())
    assert "0.0200 lost" in kept and "with all layers quantised it was 0.4000" in kept
    assert "25.0% of the multiplications" in kept and 'class="warning"' not in kept
    assert 'class="warning"' in precision_report("t", {}, VARIANTS, accuracy(score=0.1))
    assert "was to be lost" not in precision_report("t", {}, VARIANTS, accuracy(max_drop=None, without_control=None))


def test_a_model_that_was_not_quantised_has_sizes_and_latency_alone() -> None:
    page = precision_report("t", {}, [VARIANTS[0] | {"score": None}], None)
    assert len(pictures(page)) == 2
    assert "Layers" not in page
