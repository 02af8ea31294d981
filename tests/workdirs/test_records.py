import json
import math
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from ioub_jax.workdirs import records, writers


def scalars_of(folder, tag):
    """(step, number) of every event in a TensorBoard folder."""
    return sorted((step, value.simple_value) for step, value in values_of(folder, tag))


def values_of(folder, tag):
    """(step, value) of every event in a TensorBoard folder, as written."""
    found = []
    for path in folder.glob("events*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]
            for value in event.summary.value:
                if value.tag == tag:
                    found.append((event.step, value))
    return found


def write(workdir, steps, last_step):
    shown = [writers.TensorBoard(workdir)]
    with records.MetricWriter(workdir, ("train", "evaluation"), last_step, shown) as writer:
        for step in steps:
            writer.write("train", step, {"loss": float(step)})


def test_a_resume_leaves_every_step_once(tmp_path):
    write(tmp_path, [1, 2, 3, 4], last_step=0)
    # The checkpoint was at step 2; the killed run had gone on to 4 and cut a line short.
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    write(tmp_path, [3, 4, 5], last_step=2)
    written = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert written == [{"step": step, "loss": float(step)} for step in (1, 2, 3, 4, 5)]
    assert scalars_of(tmp_path / "tensorboard", "train/loss") == [
        (step, float(step)) for step in (1, 2, 3, 4, 5)
    ]


def test_records_that_are_gone_are_told_of_and_begin_anew(tmp_path, caplog):
    write(tmp_path, [1, 2], last_step=0)
    assert caplog.messages == []  # in a new run there are none
    (tmp_path / "train.jsonl").unlink()
    write(tmp_path, [3], last_step=2)
    assert caplog.messages == [
        f"train.jsonl is gone from {tmp_path}: the records up to step 2 in it are lost."
    ]
    assert records.read_records(tmp_path / "train.jsonl", 3) == [{"step": 3, "loss": 3.0}]


@pytest.mark.parametrize(
    "damaged",
    [b'{"step": 2, "loss": 2.', b'{"sdep": 2}', b'{"step": "2"}', b'{"step": 2, "\xff": 0}'],
)
def test_a_damaged_line_costs_its_own_record_alone(tmp_path, damaged):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damaged + b'\n{"step": 3}\n')
    assert records.read_records(path, 3) == [{"step": 1}, {"step": 3}]


def test_kinds_are_kept_apart_and_missing_values_are_no_scalars(tmp_path):
    shown = [writers.TensorBoard(tmp_path)]
    with records.MetricWriter(tmp_path, ("train", "evaluation"), 0, shown) as writer:
        writer.write("evaluation", 7, {"AP": 0.5, "APs": None})
        assert writer.has("evaluation", 7)
        assert not writer.has("train", 7)
        assert not writer.has("evaluation", 8)
    assert records.read_records(tmp_path / "evaluation.jsonl", 7) == [
        {"step": 7, "AP": 0.5, "APs": None}
    ]
    assert scalars_of(tmp_path / "tensorboard", "evaluation/AP") == [(7, 0.5)]
    assert scalars_of(tmp_path / "tensorboard", "evaluation/APs") == []


def test_a_process_that_leaves_the_writing_to_another_writes_nothing(tmp_path):
    with records.MetricWriter(tmp_path, ("train",), 0, None) as writer:
        writer.write("train", 1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_names_step_and_metric(value):
    records.check_finite(3, {"loss": 1.0})
    with pytest.raises(records.NonFiniteError, match=r"Step 3: gradient_norm is (nan|inf); the"):
        records.check_finite(3, {"loss": 1.0, "gradient_norm": value})


def test_histograms_are_split_from_single_numbers():
    values = {"loss": np.float32(0.5), "histogram": np.array([1, 0, 2], np.int32)}
    assert records.split_histograms(values) == ({"loss": 0.5}, {"histogram": [1, 0, 2]})
