import logging

import jax
import pytest

from ioub_jax import building
from tests import small_coco, tiny


@pytest.mark.slow
def test_a_training_over_all_canvases_compiles_the_step_once_for_each(tmp_path, caplog):
    folder = tmp_path / "images"
    folder.mkdir()
    annotations = small_coco.write(folder).name
    config = tiny.get_config()
    config.data.update({"source": "coco", "allow_same_images": True})
    config.data.canvases = ((48, 64), (64, 48), (64, 64))
    config.data.resize.scales = (0.75, 1.0)
    config.data.augmentation.scale_jitter = (0.8, 1.2)
    config.data.coco.root = str(folder)
    for split in ("train", "val"):
        config.data.coco.update({f"{split}_annotations": annotations, f"{split}_images": "."})
    config.loss.localization.w_loc = 1.0
    config.schedule.update({"images": 12 * 8, "warmup_images": 8})
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        run = building.begin_run(config, tmp_path / "run", profile=True)
        canvases = {run.experiment.plan[step].canvas for step in range(run.total_steps)}
        run.train()
    assert canvases == set(config.data.canvases)
    compiled = [
        record.getMessage()
        for record in caplog.records
        if record.getMessage().startswith("Compiling jit(train_step)")
    ]
    assert len(compiled) == len(canvases), compiled
    # Of twelve steps the last two are traced.
    assert len(list((tmp_path / "run/profile").rglob("*.xplane.pb"))) == 1
