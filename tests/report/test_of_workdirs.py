import json

import pytest

from ioub_jax.errors import ConfigError
from ioub_jax.report import of_workdirs

CHOSEN = {"ema": True, "changes": {}}


@pytest.fixture(params=[None, 0.9])
def run(tmp_path, request):
    """A workdir with a best checkpoint of step 12 and a last one of step 30."""
    (tmp_path / "config.json").write_text(json.dumps({"optimizer": {"ema_decay": request.param}}))
    for folder in ("checkpoints/best/12", "checkpoints/last/30", "evaluation"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("val_12", "val_12_without_ema", "test_best"):
        (tmp_path / "evaluation" / f"{name}_detections.json").write_text("[]")
    return tmp_path, request.param is not None


def test_what_was_kept_is_of_the_checkpoint_that_is_reported(run):
    workdir, has_average = run
    folder = workdir / "evaluation"
    found = of_workdirs.stored_detections(workdir, "best", "val", **CHOSEN)
    assert found == folder / "val_12_detections.json"
    plain = of_workdirs.stored_detections(workdir, "best", "val", ema=False, changes={})
    name = "val_12_without_ema" if has_average else "val_12"
    assert plain == folder / f"{name}_detections.json"


def test_nothing_was_kept_of_other_weights_or_other_data(run):
    workdir, _ = run
    assert of_workdirs.stored_detections(workdir, "last", "val", **CHOSEN) is None
    assert of_workdirs.stored_detections(workdir, "best", "test", **CHOSEN) is None
    changes = {"data.coco.root": "elsewhere"}
    found = of_workdirs.stored_detections(workdir, "best", "val", ema=True, changes=changes)
    assert found is None


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(ConfigError):
        of_workdirs.stored_detections(tmp_path, "best", "val", **CHOSEN)
