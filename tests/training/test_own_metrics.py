"""A training that is judged by a metric of the user's own, told in advance what it will say."""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import ClassVar

import pytest

import ioub_jax
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation import CocoMetric, Report
from ioub_jax.workdirs import checkpoints
from tests import tiny
from tests.own_metric import Caught


@dataclasses.dataclass(frozen=True)
class Foretold:
    """A metric that says what it was given, one after another."""

    values: Iterator[float | None]
    name: ClassVar[str] = "foretold"
    headline_key: ClassVar[str] = "foretold_worth"

    def compute(self, ground_truth, detections):
        assert ground_truth["annotations"]
        value = next(self.values)
        return Report({self.headline_key: value, "foretold_half": value / 2}, f"worth {value}")


def short_config():
    """Six steps, evaluated after every second one; no moving average is evaluated besides."""
    config = tiny.get_config("baseline")
    config.evaluation.every_images = 2 * config.batch_size
    config.schedule.images = 6 * config.batch_size
    config.optimizer.ema_decay = None
    return config


@pytest.mark.slow
def test_the_best_checkpoint_is_that_of_its_headline(tmp_path, caplog):
    metrics = (Foretold(iter([3.0, 5.0, 4.0])), CocoMetric(), Caught())
    caplog.set_level("INFO", logger="ioub_jax")
    ioub_jax.train(ioub_jax.build(short_config(), metrics=metrics), tmp_path)
    assert [line for line in caplog.messages if line.startswith(("foretold", "Compiling"))] == [
        "Compiling the step (about a minute, unless it is cached) ...",
        "foretold_worth 3 at step 2: the best so far.",
        "foretold_worth 5 at step 4: the best so far.",
        "foretold_worth 4 at step 6; the best so far is 5 at step 4.",
    ]
    assert re.fullmatch(
        r"Trained in \d+:\d\d: the best foretold_worth is 5, at step 4; its checkpoint is "
        rf"{tmp_path}/checkpoints/best\.",
        caplog.messages[-3],
    )
    assert caplog.messages[-2] == f"Look at it:  ioub draw --workdir={tmp_path}"
    records = [
        json.loads(line) for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()
    ]
    assert [record["step"] for record in records] == [2, 4, 6]
    assert [record["foretold_worth"] for record in records] == [3.0, 5.0, 4.0]
    assert [record["foretold_half"] for record in records] == [1.5, 2.5, 2.0]
    assert all({"AP", "AR100", "caught"} <= record.keys() for record in records)
    assert not any("voc_AP" in record for record in records)
    assert checkpoints.to_read(tmp_path, "best").step == 4
    assert checkpoints.to_read(tmp_path, "last").step == 6
    folder = tmp_path / "evaluation"
    assert (folder / "val_4_foretold_table.txt").read_text() == "worth 5.0\n"
    assert json.loads((folder / "val_6_metrics.json").read_text())["AP"] == records[-1]["AP"]

    # Of what is trained, too.
    evaluation = ioub_jax.load_run(tmp_path, "last", "val").evaluate((Caught(), CocoMetric()))
    assert evaluation.headline == evaluation.record()["caught"] == records[-1]["caught"]
    assert list(ioub_jax.load_run(tmp_path, "last", "val").evaluate().reports) == ["coco", "voc"]

    # A damaged best checkpoint has its number from the records, as with COCO's.
    (tmp_path / "checkpoints" / "best" / "4" / "metadata" / "metadata").write_text("{")
    again = checkpoints.Checkpoints(tmp_path, Foretold.headline_key)
    assert again.best_ap() == 5.0
    assert "5.000 is taken from evaluation.jsonl" in caplog.text
    again.close()


def test_metrics_of_one_name_are_refused_before_anything_is_written():
    with pytest.raises(ConfigError, match="Two metrics have the name 'caught'"):
        ioub_jax.build(short_config(), metrics=(Caught(), Caught(0.5)))
