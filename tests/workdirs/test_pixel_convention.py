"""A run keeps how the pixels of its XMLs were counted when it began."""

import json

import cv2
import numpy as np
import pytest

from ioub_jax.configs import defaults
from ioub_jax.data.sources import ShapesSource, VocSource
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import data_parts
from ioub_jax.workdirs import configuration, pixel_convention

XML = (
    "<annotation><size><width>64</width><height>48</height></size><object><name>cat</name><bndbox>"
    "<xmin>{}</xmin><ymin>9</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def folder(tmp_path):
    """A folder with a box from 5.5, so that it is counted from 0, and one from 5 to validate."""
    for split, left in (("train", 5.5), ("val", 5)):
        place = tmp_path / "data" / split
        place.mkdir(parents=True)
        cv2.imwrite(str(place / "a.png"), np.zeros((48, 64, 3), np.uint8))
        (place / "a.xml").write_text(XML.format(left))
    return tmp_path / "data"


@pytest.fixture
def config(folder):
    """A configuration of the folder."""
    config = defaults.get_config()
    config.data.source = "voc"
    config.data.voc.update({"root": str(folder), "train_split": "all", "val_split": "all"})
    config.data.voc.update({"train_folders": ("train",), "val_folders": ("val",)})
    config.data.allow_same_images = True
    return config


def test_other_splits_are_counted_as_the_training_split(config):
    train, val, _ = data_parts.open_data(config)
    assert train.pixels == val.pixels == "zero_based"
    assert val.annotations(0).boxes.tolist() == [[5, 9, 20, 30]]
    # By itself there is nothing to see, and what is configured counts.
    assert data_parts.create_source(config.data, "val").pixels == "devkit"
    config.data.voc.pixels = "one_based_exclusive"
    assert {part.pixels for part in data_parts.open_data(config)[:2]} == {"one_based_exclusive"}


def test_what_was_decided_first_stays(folder, tmp_path):
    workdir = tmp_path / "run"
    source = VocSource(folder, "all", ("train",))
    assert pixel_convention.of_run(workdir) is None
    pixel_convention.claim(workdir, source)
    assert json.loads((workdir / "voc_pixels.json").read_text()) == {"pixels": "zero_based"}
    assert pixel_convention.of_run(workdir) == "zero_based"
    # The data have changed since; whoever opens them with what the run has kept goes on.
    (folder / "train/a.xml").write_text(XML.format(5))
    pixel_convention.claim(workdir, VocSource(folder, "all", ("train",), pixels="zero_based"))
    with pytest.raises(ConfigError, match=r"'zero_based', but .* as 'devkit'; resume with --con"):
        pixel_convention.claim(workdir, VocSource(folder, "all", ("train",)))


@pytest.mark.parametrize(("one_based", "pixels"), [(True, "devkit"), (False, "zero_based")])
def test_a_run_of_an_earlier_version_goes_on_as_it_began(
    config, folder, tmp_path, one_based, pixels
):
    workdir = tmp_path / "run"
    workdir.mkdir()
    settings = configuration.to_dict(config)
    old = json.loads(json.dumps(settings))
    del old["data"]["voc"]["pixels"]
    old["data"]["voc"] |= {"one_based": one_based, "unannotated": "problem"}
    (workdir / "config.json").write_text(json.dumps(old))
    assert configuration.read_workdir(workdir).data.voc.pixels == pixels
    assert "one_based" not in configuration.read_workdir(workdir).data.voc
    configuration.check_workdir(workdir, settings)
    assert pixel_convention.of_run(workdir) == pixels
    source, *_ = data_parts.open_data(config, voc_pixels=pixels)
    assert source.annotations(0).boxes[0, 0] == 5.5 - one_based
    pixel_convention.claim(workdir, source)
    configuration.claim_workdir(workdir, settings)  # where the old key is gone
    assert pixel_convention.of_run(workdir) == pixels
    other = "zero_based" if one_based else "devkit"
    settings["data"]["voc"]["pixels"] = other
    (workdir / "config.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=f"data.voc.pixels: '{pixels}' -> '{other}'"):
        configuration.check_workdir(workdir, settings)


def test_results_of_an_earlier_version_are_compared_by_what_they_meant(config):
    now = configuration.to_dict(config)
    old = json.loads(json.dumps(now))
    old["data"]["voc"]["one_based"] = True
    del old["data"]["voc"]["pixels"]
    assert configuration.differing_keys(old, now, evaluated=True) == []
    now["data"]["voc"]["pixels"] = "devkit"
    assert configuration.differing_keys(old, now, evaluated=True) == []
    now["data"]["voc"]["pixels"] = "zero_based"
    expected = ["data.voc.pixels: 'devkit' -> 'zero_based'"]
    assert configuration.differing_keys(old, now, evaluated=True) == expected


def test_data_without_xmls_has_none(config, tmp_path):
    shapes = ShapesSource(num_images=2, image_size=(32, 32), seed=0, split="train")
    pixel_convention.claim(tmp_path, shapes)
    assert not (tmp_path / "voc_pixels.json").exists()
    config.data.source = "shapes"
    (tmp_path / "config.json").write_text(json.dumps(configuration.to_dict(config)))
    assert pixel_convention.of_run(tmp_path) is None


@pytest.mark.parametrize("content", ['["devkit"]', "{}", '{"pixels": "voc"}', '{"pixels": null}'])
def test_a_broken_file_is_told(tmp_path, content):
    (tmp_path / "voc_pixels.json").write_text(content)
    with pytest.raises(ConfigError, match=r"voc_pixels\.json does not have `pixels` that are one"):
        pixel_convention.of_run(tmp_path)
