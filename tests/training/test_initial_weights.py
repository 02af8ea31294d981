import logging

import jax
import numpy as np
import pytest

from ioub_jax import weights
from ioub_jax.devices import placement
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import training_parts
from ioub_jax.models import vision_transformer
from ioub_jax.training import initial_weights
from ioub_jax.weights import mapping, transformer_names
from ioub_jax.workdirs import checkpoints, class_list
from tests import tiny

CLASSES = 8  # of `shapes`


def new_state(config, num_classes=CLASSES):
    detector = training_parts.detector_of(config, num_classes)
    return training_parts.trainer_of(config, detector).create_state(), placement.replicated(
        detector.mesh
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny.train_two_steps(tmp_path_factory.mktemp("run"))


def start(config, categories):
    state, sharding = new_state(config, len(categories))
    return state, initial_weights.with_initial_weights(
        state, training_parts.initial_weights_of(config), categories, sharding
    )


def changed(before, after):
    """The names of the parameters that differ."""
    leaves = jax.tree_util.tree_flatten_with_path(before.params)[0]
    others = jax.tree.leaves(after.params)
    return {
        tuple(entry.key for entry in path)[:2]
        for (path, leaf), other in zip(leaves, others, strict=True)
        if not np.array_equal(leaf, other)
    }


def test_a_backbone_of_a_run(workdir):
    config = tiny.get_config()
    config.seed = 5
    config.model.pretrained = str(workdir)
    before, after = start(config, [(0, "any")] * CLASSES)
    trained = checkpoints.read_variables(
        workdir, "best", placement.replicated(placement.create_mesh(1))
    )
    jax.tree.map(
        np.testing.assert_array_equal, after.params["backbone"], trained["params"]["backbone"]
    )
    assert {name for name, _ in changed(before, after)} == {"backbone"}


def test_the_pyramid_of_a_transformer_keeps_its_initial_values(monkeypatch, tmp_path):
    model = vision_transformer.VisionTransformer(blocks=1, channels=4, heads=2, grid=2)
    shapes = jax.eval_shape(
        lambda key: model.init(key, np.zeros((1, 32, 32, 4), np.float32), train=False),
        jax.random.key(0),
    )["params"]
    ours = jax.tree.map(lambda leaf: np.full(leaf.shape, 1.0, np.float32), shapes)
    theirs = {name: part for name, part in ours.items() if not name.startswith("pyramid")}
    kernel = np.ones((16, 16, 3, 4), np.float32)
    theirs["stem_conv"] = {**ours["stem_conv"], "kernel": kernel}
    state_dict = mapping.collect(
        {"params": jax.tree.map(lambda leaf: 2.0 * leaf, theirs)}, transformer_names.transformer_key
    )
    monkeypatch.setattr(weights, "find_weights", lambda source: tmp_path / source)
    monkeypatch.setattr(weights, "read_state_dict", lambda path: state_dict)
    variables = initial_weights.initial_variables(
        {"params": {"backbone": ours}, "batch_stats": {}},
        initial_weights.InitialWeights(backbone="vit_small", pretrained="vit.safetensors"),
        [(0, "any")],
        placement.replicated(placement.create_mesh(1)),
    )
    found = variables["params"]["backbone"]
    assert found["stem_conv"]["kernel"].shape == (16, 16, 4, 4)  # made of that for RGB
    for name, part in found.items():
        values = {float(leaf.mean()) for leaf in jax.tree.leaves(part)}
        expected = 1.0 if name.startswith("pyramid") else 2.0
        # Of four channels those for RGB are multiplied by 3/4.
        assert values == ({1.5, 2.0} if name == "stem_conv" else {expected}), name


def test_a_whole_detector_with_the_same_classes(workdir):
    config = tiny.get_config()
    config.seed = 5
    config.init_from = str(workdir)
    _, after = start(config, class_list.read(workdir))
    trained = checkpoints.read_variables(
        workdir, "best", placement.replicated(placement.create_mesh(1))
    )
    jax.tree.map(np.testing.assert_array_equal, after.params, trained["params"])
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, trained["batch_stats"])


@pytest.mark.parametrize("categories", [[(7, "cat")] * 5, [(1, "cat")] * CLASSES])
def test_other_classes_get_a_new_last_layer_and_a_line_in_the_log(workdir, categories, caplog):
    config = tiny.get_config()
    config.seed = 5
    config.init_from = str(workdir)
    with caplog.at_level(logging.INFO, "ioub_jax"):
        before, after = start(config, categories)
    kept = before.params["classification_head"]["output"]
    jax.tree.map(np.testing.assert_array_equal, after.params["classification_head"]["output"], kept)
    assert ("classification_head", "tower_0") in changed(before, after)
    assert "the last layer of the classification head is initialized anew" in caplog.text


def test_another_architecture_is_refused(workdir):
    config = tiny.get_config()
    config.model.fpn.channels = 12
    config.init_from = str(workdir)
    with pytest.raises(ConfigError, match="init_from is of another architecture: params/"):
        start(config, class_list.read(workdir))
    config = tiny.get_config()
    config.model.norm = "group_norm"
    config.model.pretrained = str(workdir)
    with pytest.raises(ConfigError, match=r"batch_stats/backbone/.* here"):
        start(config, [(0, "any")] * CLASSES)


def test_a_detector_trained_otherwise_is_named_in_the_log(workdir, caplog):
    config = tiny.get_config()
    config.anchors.center_offset = 0.0
    config.init_from = str(workdir)
    with caplog.at_level(logging.WARNING, "ioub_jax"):
        start(config, class_list.read(workdir))
    assert "anchors.center_offset: 0.5 -> 0.0" in caplog.text
    assert "fpn" not in caplog.text


def test_an_imported_detector_keeps_the_outputs_of_coco_classes(monkeypatch, tmp_path, caplog):
    """COCO's classes are found by id and name; others get a new last layer."""
    config = tiny.get_config()
    state, _ = new_state(config, 91)
    imported = weights.ImportedDetector(
        "retinanet_resnet50_fpn",
        {key: config[key].to_dict() for key in ("model", "anchors")},
        jax.device_get({"params": state.params, "batch_stats": state.batch_stats}),
        tuple(range(91)),
    )
    monkeypatch.setattr(weights, "find_weights", lambda source: tmp_path / source)
    monkeypatch.setattr(weights, "read_state_dict", lambda path: {})
    monkeypatch.setattr(weights, "detector_of", lambda values, name: imported)
    config.init_from = "detector.pth"
    config.seed = 5
    with caplog.at_level(logging.WARNING, "ioub_jax"):
        _, after = start(config, [(17, "cat"), (1, "person")])
    assert "was trained with another configuration" not in caplog.text
    theirs = imported.variables["params"]["classification_head"]["output"]["kernel"]
    ours = after.params["classification_head"]["output"]["kernel"]
    by_anchor = theirs.reshape(*theirs.shape[:3], 9, 91)
    np.testing.assert_array_equal(
        np.asarray(ours).reshape(*theirs.shape[:3], 9, 2), by_anchor[..., [17, 1]]
    )
    before, after = start(config, [(17, "person"), (1, "cat")])
    kernels = [s.params["classification_head"]["output"]["kernel"] for s in (before, after)]
    np.testing.assert_array_equal(*kernels)
