"""Tuning records: what is written is read, in any order; damage gives clear errors."""

from __future__ import annotations

import json
import random
import resource
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import UserError
from compiler.kernels.rule import Decision
from compiler.tune.records import CHOICE, Log, Record, parse_line, read_file
from compiler.tune.upkeep import export_records, import_records, list_contents, prune
from tests.tune.records import record

seconds = st.floats(1e-9, 1e3).map(lambda value: float(f"{value:.6g}")) | st.just(float("inf"))


@given(seconds, seconds, st.dictionaries(st.sampled_from(["rows", "vectors", "band"]), st.integers(0, 1 << 40)))
def test_a_line_says_all_of_a_record(time: float, base: float, parameters: dict[str, int]) -> None:
    made = record(seconds=time, base=base, decision=Decision("tile", parameters), failure="it crashed")
    assert parse_line(made.to_line(), "here") == made


def test_records_come_in_an_order_of_their_own(tmp_path: Path) -> None:
    """The order of lines and files does not matter, nor that a line is there twice."""
    records = [record(n) for n in range(20)] + [record(3, "verdict"), record(1, work={"family": "tile"})]
    read = []
    for seed in range(3):
        random.Random(seed).shuffle(records)
        log = Log(tmp_path / str(seed), "host")
        log.append(records[:9])
        log.append(records[5:])
        read.append(log.read())
    assert read[0] == read[1] == read[2] and len(read[0]) == 22
    assert {path.name for path in log.files()} == {"packed.jsonl", "tile.jsonl"}
    assert log.read("verdict") == [record(3, "verdict")]


def test_half_a_line_is_lost_and_nothing_else(tmp_path: Path) -> None:
    """As a process leaves it that is killed while it writes."""
    log = Log(tmp_path, "host")
    log.append([record(1), record(2)])
    (path,) = log.files()
    whole = path.read_bytes()
    for cut in range(len(whole) - 2, len(record(1).to_line()), -37):
        path.write_bytes(whole[:cut])
        assert log.read() == [record(1)]
        log.append([record(3)])
        assert log.read() == [record(1), record(3)]


def test_mutated_files_give_clear_errors(tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "packed.jsonl"
    whole = "".join(record(n).to_line() for n in range(4)).encode()
    refused = 0
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[place] = rng.randrange(256)
                case 1:
                    del data[place : place + rng.randrange(1, 30)]
                case 2:
                    data[place:place] = rng.choice([b"{", b'"', b"-1", b"1e999", b"[[[", b"\x00", b"\xff", b"null,"])
                case 3:
                    data[place:place] = data[: rng.randrange(200)]
        path.write_bytes(bytes(data))
        problem = None
        try:
            found = list(read_file(path))
        except UserError as error:
            problem, found = error, []
        assert all(isinstance(one, Record) for one in found)
        if problem is not None:
            refused += 1
            assert problem.where is not None and problem.where.startswith(str(path)) and problem.fix
    assert refused > 500


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": 2}, "newer edgec"),
        ({"format": "x"}, "format is not known"),
        ({"seconds": -1}, "'seconds'"),
        ({"parameters": {"rows": 1.5}}, "'parameters'"),
        ({"parameters": {"not a name": 1}}, "'parameters'"),
        ({"kind": "rumour"}, "'kind'"),
        ({"workload": "xyz"}, "'workload'"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"work": {"family": ["packed"]}}, "'work'"),
        ({"rule": CHOICE, "parameters": {"rows": 1}}, "'parameters'"),
        ({"date": "whenever"}, "'date'"),
        ({"base": None}, "'base'"),
        ({"work": {"spatial": 5}}, "'work'"),
        ({"work": {"flops": [5]}}, "'work'"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        parse_line(json.dumps(json.loads(record().to_line()) | changes), "a file:3")


def test_a_missing_key_is_named() -> None:
    data = json.loads(record().to_line())
    for name in data:
        with pytest.raises(UserError, match="format" if name == "format" else name):
            parse_line(json.dumps({key: value for key, value in data.items() if key != name}), "here")


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "packed.jsonl"
    path.write_text(record().to_line() + " " * (17 << 10) + "\n")
    with pytest.raises(UserError, match="a line of more"):
        list(read_file(path))
    monkeypatch.setattr("compiler.tune.records._MOST_FILE_BYTES", 1000)
    with pytest.raises(UserError, match="--prune"):
        list(read_file(path))


def test_a_full_disk_is_said_and_leaves_whole_lines(tmp_path: Path) -> None:
    log = Log(tmp_path, "host")
    log.append([record(1)])
    (path,) = log.files()
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(UserError, match="cannot write tuning records"):
            log.append([record(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_a_last_line_without_an_end_is_a_record(tmp_path: Path) -> None:
    """As of files that somebody joined."""
    log = Log(tmp_path, "host")
    log.append([record(1)])
    (path,) = log.files()
    path.write_bytes(path.read_bytes()[:-1])
    assert log.read() == [record(1)]
    log.append([record(3)])
    assert log.read() == [record(1), record(3)]


def test_a_log_that_is_too_large_can_be_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path, "host")
    log.append([record(5, seconds=1e-6 * n) for n in range(1, 100)])
    monkeypatch.setattr("compiler.tune.records._MOST_FILE_BYTES", 30000)
    for refused in (log.read, lambda: log.append([record(1)])):
        with pytest.raises(UserError, match="--prune"):
            refused()
    prune(tmp_path)
    assert 0 < len(log.read()) < 99
    log.append([record(1)])


@pytest.mark.parametrize("content", [b'{"a":1}', bytes(range(128, 256))])
def test_junk_is_not_imported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError):
        import_records(tmp_path / "logs", path)
    assert not (tmp_path / "logs").exists()


def test_pruning_keeps_verdicts_and_the_best(tmp_path: Path) -> None:
    trials = [record(5, seconds=1e-6 * n, date=f"2026-01-01T00:00:{n % 60:02}Z") for n in range(1, 100)]
    verdicts = [record(5, "verdict", date=f"2026-01-0{n}T00:00:00Z") for n in (1, 2)]
    Log(tmp_path, "host").append([*trials, *verdicts])
    before, after = prune(tmp_path)
    kept = Log(tmp_path, "host").read()
    assert (before, after) == (101, len(kept)) and after < 40
    assert trials[0] in kept and trials[-1] in kept
    assert [r for r in kept if r.kind == "verdict"] == [verdicts[1]]


def test_what_is_added_while_others_prune_is_kept(tmp_path: Path) -> None:
    log, pruned = Log(tmp_path, "host"), threading.Event()
    log.append([record(0)])

    def prune_always() -> None:
        while not pruned.is_set():
            prune(tmp_path)
            time.sleep(1e-3)  # a lock is not fair to who waits for it

    pruner = threading.Thread(target=prune_always)
    pruner.start()
    for number in range(1, 150):
        log.append([record(number)])
    pruned.set()
    pruner.join()
    assert sorted(one.workload for one in log.read()) == sorted(record(number).workload for number in range(150))


def test_records_travel_in_one_file(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    Log(here, "host").append([record(1), record(2)])
    Log(here, "raspberry-pi-5").append([record(3, target="raspberry-pi-5")])
    Log(there, "host").append([record(2)])
    assert export_records(here, tmp_path / "all.jsonl") == 3
    assert import_records(there, tmp_path / "all.jsonl") == 2
    assert import_records(there, tmp_path / "all.jsonl") == 0
    assert Log(there, "host").read() == Log(here, "host").read()
    listed = list_contents(there)
    assert [(one.target, one.family, one.trials) for one in listed] == [
        ("host", "packed", 2),
        ("raspberry-pi-5", "packed", 1),
    ]


def test_a_target_in_a_file_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text(record(target="../../etc").to_line())
    with pytest.raises(UserError, match="named"):
        import_records(tmp_path / "logs", tmp_path / "all.jsonl")
    assert not (tmp_path / "logs").exists()
