"""Real models: each is prepared, or refused with a message that names its nodes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import load_model, prepare, refuse
from tests.frontend.checks import check_message

CORPUS = os.environ.get("EDGEC_CORPUS")


def entries() -> list[dict[str, Any]]:
    return json.loads((Path(CORPUS) / "catalog.json").read_text())["models"] if CORPUS else [{"file": "none"}]


@pytest.mark.skipif(not CORPUS, reason="EDGEC_CORPUS does not name a folder of models")
@pytest.mark.parametrize("entry", entries(), ids=lambda entry: Path(entry["file"]).stem)
def test_prepared_or_refused(entry: dict[str, Any]) -> None:
    assert CORPUS
    shapes = {value["name"]: value["golden_shape"] for value in entry["inputs"] if value["dynamic"]}
    model = load_model(Path(CORPUS) / entry["file"])
    result = prepare(model, shapes)
    assert [list(t.shape) for t in result.inputs] == [value["golden_shape"] for value in entry["inputs"]]
    if result.obstacles:
        with pytest.raises(UserError) as caught:
            refuse(result.obstacles, model.name)
        check_message(caught.value)
    else:
        assert [list(t.shape) for t in result.outputs] == [v["golden_shape"] for v in entry["outputs"]]
