import dataclasses
import importlib.util
import pathlib

import pytest

from ioub_jax.configs import refusals
from ioub_jax.errors import ConfigError
from ioub_jax.own_data import config_file
from ioub_jax.own_data.folders import Found
from ioub_jax.own_data.looking import OwnData
from ioub_jax.own_data.measures import Setting

WHY = "A tenth of the objects is smaller than 44 px; " * 4 + "that is all."


def data(place="/data/it's"):
    found = Found(
        "voc",
        "VOC XML",
        pathlib.Path(place),
        {"data.source": "voc", "data.voc.root": place, "data.voc.train_split": "all"},
        {"train": "all images"},
    )
    settings = (
        Setting("data.canvases", ((224, 288),), WHY),
        Setting("anchors.base_scale", 1.5, "They reach more."),
        Setting("anchors.ratios", (0.25, 1.0), "They reach more."),
    )
    return OwnData(found, settings, (), (), "small")


def load(path):
    specification = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("place", ["/data/it's", '/data/"""', "/data/back\\slash"])
def test_the_file_is_the_configuration_with_a_reason_for_every_value(tmp_path, place):
    path = tmp_path / "mine.py"
    config_file.write(path, data(place))
    text = path.read_text()
    assert all(len(line) <= 100 for line in text.splitlines() if line.startswith("    #"))
    assert text.count("# They reach more.") == 1  # of both
    assert "A tenth of the objects" in text
    config = load(path).get_config()
    assert config.to_dict() == data(place).config().to_dict()
    assert config.data.voc.root == place
    assert config.data.canvases == ((224, 288),)
    assert config.anchors.ratios == (0.25, 1.0)
    # Another backbone and arm are one word away.
    assert load(path).get_config("small,baseline").loss.classification.eta == 0


def test_another_detector_is_one_word_away_and_has_its_own_anchors(tmp_path):
    path = tmp_path / "mine.py"
    config_file.write(path, dataclasses.replace(data(), argument="fcos,small,cls"))
    fcos, atss, retinanet = map(load(path).get_config, ("", "atss", "retinanet,baseline"))
    assert (fcos.model.name, fcos.loss.classification.eta) == ("fcos", 1.5)
    # Half of COCO's: the first level learns what reaches up to 32 px, its one anchor has 32 px.
    assert fcos.matcher.size_ranges[0] == (0.0, 32.0)
    assert (fcos.anchors.base_scale, fcos.anchors.ratios) == (1.0, (1.0,))
    assert (atss.model.name, atss.loss.classification.eta) == ("atss", 1.5)
    assert (atss.anchors.base_scale, atss.anchors.ratios) == (4.0, (1.0,))
    # What was measured is of anchors that have to be like the boxes.
    assert (retinanet.model.name, retinanet.loss.classification.eta) == ("retinanet", 0.0)
    assert (retinanet.anchors.base_scale, retinanet.anchors.ratios) == (1.5, (0.25, 1.0))
    for config in (fcos, atss, retinanet):
        assert config.data.canvases == ((224, 288),)
        refusals.check(config)


@pytest.mark.parametrize(
    ("missing", "is_named"),
    [("a.xml: box 4 is bad; or set config.data.on_error='skip'.", True), ("No images.", False)],
)
def test_what_leaves_broken_data_out_is_one_line_away(tmp_path, missing, is_named):
    path = tmp_path / "mine.py"
    config_file.write(path, dataclasses.replace(data(), missing=(missing,)))
    line = '    # config.data.on_error = "skip"'
    assert (line in path.read_text().splitlines()) == is_named
    assert load(path).get_config().data.on_error == "raise"
    path.write_text(path.read_text().replace(line, line.replace("# ", "")))
    assert load(path).get_config().data.on_error == ("skip" if is_named else "raise")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mine.txt", "{path}: a configuration is a Python file; name it mine.py."),
        ("there.py", "{path} exists already; give another name, or remove it first."),
        ("no/mine.py", "{path.parent} is not a folder; create it first, or give another name."),
    ],
)
def test_nothing_is_lost_and_nothing_is_half_written(tmp_path, name, sentence):
    (tmp_path / "there.py").write_text("mine")
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        config_file.write(path, data())
    assert str(caught.value) == sentence.format(path=path)
    assert [one.name for one in tmp_path.iterdir()] == ["there.py"]
