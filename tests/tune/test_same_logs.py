"""The same records give the same artifact, in whatever order and files they are."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import onnx

from compiler import compile_model
from compiler.frontend.prepare import load_model
from compiler.pipeline import lower_model, resolve
from compiler.target import Target, load_target
from compiler.tune.records import Log, Record
from compiler.tune.space import space_of
from compiler.tune.upkeep import export_records, import_records
from compiler.tune.workloads import workloads_of
from tests.networks import convnet
from tests.tune.records import record


def verdicts(model: Path, target: Target) -> list[Record]:
    """Several for each kernel: of one date, of others, and of another machine."""
    loaded = load_model(model)
    lowered = lower_model(loaded, resolve(loaded, "host", None, None, False, None, True, tuning_logs=model / "none"))
    found = []
    for workload in workloads_of(lowered.versions, lowered.programs):
        space = space_of(workload.program, target)
        for place, decision in enumerate(space.decisions[:4] if space is not None else ()):
            one = record(kind="verdict", workload=workload.key, target=target.name, fingerprint=target.fingerprint)
            one = replace(one, decision=decision, work={"family": decision.rule})
            found.append(replace(one, date=f"2026-11-2{min(place, 2)}T00:00:00Z"))
            found.append(replace(one, date="2027-01-01T00:00:00Z", fingerprint="0" * 16))
    return found


def compiled(model: Path, logs: Path, out: Path) -> tuple[bytes, int]:
    """The artifact, made without what earlier compilations left, and how many kernels have a tuned schedule."""
    made = compile_model(model, out=out, tuning_logs=logs, cache=False, verify=False)
    return out.read_bytes(), sum("tuned" in kernel for kernel in made.manifest["kernels"])


def test_same_logs_same_bytes(tmp_path: Path) -> None:
    model, target, rng = tmp_path / "net.onnx", load_target("host"), random.Random(0)
    onnx.save(convnet(), model)
    records = verdicts(model, target)
    assert len({one.date for one in records if one.fingerprint == target.fingerprint}) == 3
    folders = [tmp_path / name for name in ("one", "shuffled", "joined", "travelled")]

    Log(folders[0], target.name).append(records)
    rng.shuffle(records)
    for one in records:
        Log(folders[1], target.name).append([one])
    lines = [one.to_line() for one in records[::-1]]
    (folders[2] / target.name).mkdir(parents=True)
    (folders[2] / target.name / "a.jsonl").write_text("".join(lines[::2]))
    (folders[2] / target.name / "b.jsonl").write_text("".join(lines[1::2] + lines[:7]) + lines[0][:50])
    export_records(folders[1], tmp_path / "all.jsonl")
    import_records(folders[3], tmp_path / "all.jsonl")

    made = [compiled(model, folder, tmp_path / f"{folder.name}.so") for folder in folders]
    assert made[0][1] > 0 and len(set(made)) == 1
    plain = compiled(model, tmp_path / "none", tmp_path / "plain.so")
    assert plain[1] == 0 and plain[0] != made[0][0]
