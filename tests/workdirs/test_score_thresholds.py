import json

import numpy as np
import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import score_thresholds
from ioub_jax.workdirs.checkpoint_folders import Folder

CLASSES = [(3, "cell", 0.25), ("k9", "dog", 0.5)]


@pytest.fixture(params=[None, 0.9])
def run(tmp_path, request):
    """A workdir with a best checkpoint of step 12, a last one of step 30, and what 12 measured."""
    (tmp_path / "config.json").write_text(json.dumps({"optimizer": {"ema_decay": request.param}}))
    for folder in ("checkpoints/best/12", "checkpoints/last/30", "evaluation"):
        (tmp_path / folder).mkdir(parents=True)
    score_thresholds.write(tmp_path / "evaluation" / "val_12_thresholds.json", 0.4, CLASSES)
    return tmp_path, request.param is not None


def test_what_was_written_is_read_for_its_checkpoint(run):
    workdir, has_average = run
    found = score_thresholds.read(workdir)
    assert (found.general, found.by_id) == (0.4, {3: 0.25, "k9": 0.5})
    np.testing.assert_array_equal(found.of(("k9", 7, 3)), [0.5, 0.4, 0.25])
    assert str(found) == (
        "the best score of its class by F1 (0.25 to 0.50, measured on the validation images: "
        f"{workdir}/evaluation/val_12_thresholds.json)"
    )
    assert score_thresholds.read_required(workdir, "best") == found
    # Another checkpoint, or other weights, have thresholds of their own.
    assert score_thresholds.read(workdir, "last") is None
    assert (score_thresholds.read(workdir, ema=False) is None) == has_average
    assert score_thresholds.of_checkpoint(Folder(workdir, "best", 12)) == found
    assert score_thresholds.of_checkpoint(Folder(workdir, "last", 30)) is None
    name = score_thresholds.evaluation_name(workdir, 12, ema=False)
    assert name == ("val_12_without_ema" if has_average else "val_12")


def test_what_is_missing_is_told_with_the_command_that_measures(run):
    workdir, _ = run
    with pytest.raises(
        ConfigError, match=r"no measured score .* evaluate .* --checkpoint=last meas"
    ):
        score_thresholds.read_required(workdir, "last")
    assert score_thresholds.read(workdir / "checkpoints") is None  # no checkpoint at all


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"classes": []}',
        '{"all_classes": "high", "classes": []}',
        '{"all_classes": NaN, "classes": []}',
        '{"all_classes": 0.4, "classes": [{"category_id": 1}]}',
        '{"all_classes": 0.4, "classes": [{"category_id": [1], "threshold": 0.4}]}',
    ],
)
def test_a_broken_file_is_named(run, content):
    workdir, _ = run
    (workdir / "evaluation" / "val_12_thresholds.json").write_text(content)
    with pytest.raises(
        ConfigError, match=r"val_12_thresholds.json does not list .* writes it again"
    ):
        score_thresholds.read(workdir)
