"""Class weights of a configuration: by hand, by name, by counts, and of a run that goes on."""

import json

import numpy as np
import pytest

from ioub_jax import building
from ioub_jax.configs import refusals
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.data.sources.example import create_example
from ioub_jax.data.sources.file_source import FileSource
from ioub_jax.errors import ConfigError
from ioub_jax.from_config import class_weight_parts
from ioub_jax.workdirs import class_weights
from tests import tiny

NAMES = ("scratch", "dent", "stain=dark")


@pytest.fixture
def source():
    """One image with one scratch, two dents (and one that is a crowd) and ten stains."""
    labels = np.array([0, 1, 1, 1] + [2] * 10)
    example = create_example(
        np.tile([0.0, 0.0, 5.0, 5.0], (14, 1)), labels, 1, crowd=np.arange(14) == 3
    )
    annotations = collect_annotations([example], np.array([[10, 10]]))
    return FileSource(annotations, ["1.jpg"], NAMES, [1, 2, 3], [])


def config_of(weights, beta=0.999):
    config = tiny.get_config()
    config.loss.classification.update({"class_weights": weights, "effective_number_beta": beta})
    return config


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, None),
        ((), None),
        ((1.0, 2, 0.5), (1.0, 2.0, 0.5)),
        ("dent=2.5", (1.0, 2.5, 1.0)),
        (("stain=dark=0.5", "scratch=4"), (4.0, 1.0, 0.5)),
    ],
)
def test_by_hand(source, chosen, expected):
    config = config_of(chosen)
    refusals.check(config)
    found = class_weight_parts.class_weights_of(config, source)
    assert found == (None if expected is None else dict(zip(NAMES, expected, strict=True)))
    resolved = class_weight_parts.with_class_weights(config, found)
    assert resolved.loss.classification.class_weights == (expected if expected else chosen and None)


def test_by_effective_number(source):
    """Of what is learned: the crowd is not."""
    config = config_of("effective_number", beta=0.9)
    found = class_weight_parts.class_weights_of(config, source)
    # As by hand in tests/losses/test_class_balance.py, of 1, 2 and 10 boxes.
    assert list(found) == list(NAMES)
    np.testing.assert_allclose(list(found.values()), [1.785874, 0.939934, 0.274193], rtol=1e-5)
    assert class_weight_parts.class_weight_lines(config, found) == [
        "Class weights: scratch 1.79, dent 0.94, stain=dark 0.274 (by effective number, beta 0.9)."
    ]
    # A run keeps what it began with, whatever the data has become.
    kept = dict(zip(NAMES, (1.0, 1.5, 0.5), strict=True))
    assert class_weight_parts.class_weights_of(config, source, kept) == kept


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (
            (1.0, 2.0),
            "loss.classification.class_weights has 2 numbers for the 3 classes scratch, dent, "
            "stain=dark; give one for each of them in this order, or by name, such as scratch=2.0.",
        ),
        (
            ("scrach=2.0",),
            "loss.classification.class_weights names 'scrach', perhaps meant as 'scratch', which "
            "is not a class of the training data; its classes are scratch, dent, stain=dark.",
        ),
        (
            ("bird=2.0", "dent=1.0"),
            "loss.classification.class_weights names 'bird', which is not a class of the training "
            "data; its classes are scratch, dent, stain=dark.",
        ),
        (
            ("dent=2.0", "dent=1.0"),
            "loss.classification.class_weights names 'dent' twice; give each class one weight.",
        ),
    ],
)
def test_weights_of_other_classes_are_refused(source, chosen, sentence):
    with pytest.raises(ConfigError) as caught:
        class_weight_parts.class_weights_of(config_of(chosen), source)
    assert str(caught.value) == sentence


def test_a_run_is_built_with_them_and_keeps_them(tmp_path):
    config = config_of("effective_number")
    experiment = building.build(config)
    weights = experiment.class_weights
    options = experiment.detector.detector.objective.losses.classification
    assert options.class_weights == tuple(weights.values()) and len(weights) == 8
    assert sum(weights.values()) == pytest.approx(8.0)
    assert any(line.startswith("Class weights: ") for line in experiment.learned)
    # The configuration is kept as it was given.
    assert experiment.settings["loss"]["classification"]["class_weights"] == "effective_number"
    class_weights.claim(tmp_path, weights)
    assert class_weights.read(tmp_path) == weights  # to the bit
    class_weights.claim(tmp_path, weights)
    kept = weights | {"star": 2.0}
    again = building.build(config, class_weights=kept)
    assert again.class_weights == kept
    with pytest.raises(ConfigError, match=r"began with the class weights .*star"):
        class_weights.claim(tmp_path, kept)
    (tmp_path / "class_weights.json").write_text(json.dumps([1.0]))
    with pytest.raises(ConfigError, match=r"class_weights.json does not have a weight for each cl"):
        class_weights.read(tmp_path)
