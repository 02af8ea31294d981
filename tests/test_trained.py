"""A run on a COCO data set whose category list is changed afterwards."""

import contextlib
import json
import shutil

import cv2
import jax
import numpy as np
import pytest

from ioub_jax import building, trained
from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.recorded_numbers import is_loss
from ioub_jax.training import loop
from tests import tiny

NAMES = {17: "cat", 18: "dog"}


def write_data(root, names=NAMES, files=("train.json", "val.json")):
    """Eight images with one square each, of both categories."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for id_ in range(1, 9):
        path = root / "images" / f"{id_}.png"
        if not path.exists():
            cv2.imwrite(
                str(path), np.random.default_rng(id_).integers(0, 256, (64, 64, 3), np.uint8)
            )
        images.append({"id": id_, "file_name": path.name, "height": 64, "width": 64})
        annotations.append(
            {"id": id_, "image_id": id_, "category_id": 17 + id_ % 2, "bbox": [8, 8, 32, 32]}
        )
    categories = [{"id": id_, "name": name} for id_, name in names.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    for name in files:
        (root / name).write_text(json.dumps(content))


def get_config(root):
    """The tiny configuration with the data in `root`."""
    config = tiny.get_config("baseline")
    config.data.update({"source": "coco", "allow_same_images": True})
    config.data.coco.update(
        {
            "root": str(root),
            **{f"{split}_annotations": f"{split}.json" for split in ("train", "val")},
            **{f"{split}_images": "images" for split in ("train", "val")},
        }
    )
    config.evaluation.metrics = ("voc", "coco")
    return config


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The data and the workdir of a run that was evaluated before its first step."""
    folder = tmp_path_factory.mktemp("run")
    write_data(folder / "data")
    # The fixture that sets the same for every test comes too late for a module's.
    with jax.numpy_dtype_promotion("standard"):
        run = building.begin_run(get_config(folder / "data"), folder / "workdir")
        with contextlib.closing(run.checkpoints), run.writer:
            run.evaluate(loop.StopRequest())
    return folder / "data", folder / "workdir"


@pytest.fixture
def data(evaluated):
    """The run's data, to be changed, and put back afterwards."""
    root, _ = evaluated
    yield root
    write_data(root)


def test_a_run_records_its_classes_and_all_metrics(evaluated):
    _, workdir = evaluated
    recorded = json.loads((workdir / "classes.json").read_text())
    assert recorded == {"categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]}
    (record,) = map(json.loads, (workdir / "evaluation.jsonl").read_text().splitlines())
    assert record.keys() >= {"step", "AP", "APs", "AR100", "voc_AP", "voc_all_points_AP50"}
    assert record["loss"] > 0
    evaluation = trained.load_run(workdir, "best", "val").evaluate()
    of_metrics = {key: record[key] for key in record if key != "step" and not is_loss(key)}
    assert evaluation.record() == of_metrics
    assert evaluation.headline == record["voc_AP"]
    assert {row["category_id"] for row in evaluation.results} <= {17, 18}


def test_the_order_of_the_categories_in_the_file_is_harmless(evaluated, data):
    write_data(data, dict(reversed(NAMES.items())))
    trained.load_run(evaluated[1], "best", "val")


def test_permuted_names_are_what_they_are_called(evaluated, data, tmp_path):
    _, workdir = evaluated
    before = trained.load_run(workdir, "best", "val").source
    write_data(data, {17: "dog", 18: "cat"})  # every box has the other name now
    source = trained.load_run(workdir, "best", "val").source
    assert (source.classes, source.category_ids) == (("cat", "dog"), (18, 17))
    for index in range(len(source)):
        assert source.annotations(index).labels == 1 - before.annotations(index).labels
    # A run that recorded no classes, as those of earlier versions, is taken at its word.
    shutil.copytree(workdir, tmp_path / "old")
    (tmp_path / "old" / "classes.json").unlink()
    assert trained.load_run(tmp_path / "old", "best", "val").source.classes == ("dog", "cat")


def test_a_run_goes_on_with_its_own_labels(evaluated, data):
    _, workdir = evaluated
    before = (workdir / "classes.json").read_text()
    write_data(data, {17: "dog", 18: "cat"})
    run = building.begin_run(get_config(data), workdir)
    with contextlib.closing(run.checkpoints), run.writer:
        assert run.experiment.source.classes == run.experiment.validation.classes == ("cat", "dog")
    assert (workdir / "classes.json").read_text() == before


def test_what_was_built_without_the_run_gets_its_labels(evaluated, data):
    _, workdir = evaluated
    write_data(data, {17: "dog", 18: "cat"})
    experiment = building.build(get_config(data))
    assert experiment.source.classes == ("dog", "cat")
    relabeled = building._with_labels_of(experiment, workdir)
    for source in (relabeled.source, relabeled.validation):
        assert (source.classes, source.category_ids) == (("cat", "dog"), (18, 17))


def test_classes_that_training_lacks_are_refused_before_anything_is_written(data, tmp_path):
    write_data(data, {17: "cat", 18: "fox"}, files=("val.json",))
    sentence = r"val.json: has objects of classes that the training data lacks: 'fox' \(4 boxes\)"
    with pytest.raises(DataError, match=sentence):
        building.train_and_evaluate(get_config(data), tmp_path / "workdir")
    assert not (tmp_path / "workdir").exists()


def test_a_run_is_evaluated_on_other_data(evaluated, tmp_path):
    write_data(tmp_path / "other", {3: "dog", 17: "cat", 18: "cow"}, files=("test.json",))
    content = json.loads((tmp_path / "other" / "test.json").read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 3 if annotation["category_id"] == 18 else 17
    (tmp_path / "other" / "test.json").write_text(json.dumps(content))
    changes = {
        "data.coco.root": str(tmp_path / "other"),
        "data.coco.test_annotations": "test.json",
        "data.coco.test_images": "images",
        "evaluation.max_detections": 1,
    }
    with pytest.raises(DataError, match="cannot be read"):
        trained.load_run(evaluated[1], "best", "test")
    model = trained.load_run(evaluated[1], "best", "test", changes=changes)
    assert (model.source.classes, model.source.category_ids) == (("cat", "dog"), (17, 3))
    evaluation = model.evaluate()
    assert evaluation.reports["coco"].details["boxes"] == 8 and len(evaluation.results) <= 8
    assert {row["category_id"] for row in evaluation.results} <= {17, 3}


def test_an_unknown_metric_is_refused_before_anything_is_written(data, tmp_path):
    config = get_config(data)
    config.evaluation.metrics = ("map",)
    with pytest.raises(ConfigError, match=r"evaluation.metrics is \('map',\)"):
        building.train_and_evaluate(config, tmp_path / "workdir")
    assert not (tmp_path / "workdir").exists()
