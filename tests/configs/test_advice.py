import pytest

from ioub_jax import configs
from ioub_jax.configs import advice, keys

#: Keys and values that are set -> what is said of them, for a RetinaNet on `shapes`.
SET = [
    ({"optimizer.momentum": 0.95}, None),
    (
        {"optimizer.momentum": 0.95, "optimizer.name": "adamw"},
        "optimizer.momentum is 0.95, which has no effect: optimizer.name is 'adamw'.",
    ),
    (
        {"optimizer.betas": (0.9, 0.95)},
        "optimizer.betas is (0.9, 0.95), which has no effect: optimizer.name is 'sgd'.",
    ),
    ({"optimizer.betas": (0.9, 0.95), "optimizer.name": "lion"}, None),
    (
        {"schedule.decay_at": (0.5,), "schedule.name": "cosine"},
        "schedule.decay_at is (0.5,), which has no effect: schedule.name is 'cosine'.",
    ),
    (
        {"loss.localization.beta": 0.5, "loss.localization.name": "giou"},
        "loss.localization.beta is 0.5, which has no effect: loss.localization.name is 'giou'.",
    ),
    (
        {"loss.classification.isr_p_k": 3.0},
        "loss.classification.isr_p_k is 3.0, which has no effect: loss.classification.isr_p is "
        "False.",
    ),
    (
        {"evaluation.min_delta": 0.01},
        "evaluation.min_delta is 0.01, which has no effect: evaluation.patience is None.",
    ),
    ({"evaluation.min_delta": 0.01, "evaluation.patience": 5}, None),
    (
        {"data.tiles.overlap": 0.3},
        "data.tiles.overlap is 0.3, which has no effect: data.tiles.size is None.",
    ),
    (
        {"data.split.seed": 3},
        "data.split.seed is 3, which has no effect: data.split.val is 0.0 and data.split.test is "
        "0.0.",
    ),
    ({"data.split.seed": 3, "data.split.test": 0.2}, None),
    (
        {"data.yolo.root": "boards"},
        "data.yolo.root is 'boards', which has no effect: data.source is 'shapes'.",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), SET)
def test_a_key_that_another_one_leaves_unused_is_told(changes, sentence):
    config = configs.load("shapes_retinanet")
    for name, value in changes.items():
        config.update_from_flattened_dict({name: value})
    assert advice.warnings(config) == ([] if sentence is None else [sentence])


def test_lists_from_json_are_the_tuples_of_the_defaults():
    config = configs.load("shapes_retinanet")
    (default,) = (key.default for key in keys.KEYS if key.name == "schedule.decay_at")
    config.schedule.name = "cosine"
    with config.unlocked():
        config.schedule.decay_at = list(default)
    assert advice.warnings(config) == []


def test_the_quality_of_a_family_without_one():
    config = configs.load("shapes_dense:fcos")
    assert advice.warnings(config) == []
    config.loss.quality.target = "none"
    config.evaluation.score_exponents = (0.5, 0.5)
    assert advice.warnings(config) == [
        "evaluation.score_exponents is (0.5, 0.5), which has no effect: loss.quality.target is "
        "'none'."
    ]


def test_a_detector_of_a_user_has_the_keys_that_all_share():
    config = configs.load("shapes_retinanet")
    config.model.name = "mine"
    config.optimizer.name = "adamw"
    config.optimizer.momentum = 0.5
    (sentence,) = advice.warnings(config)
    assert sentence.startswith("optimizer.momentum is 0.5,")


@pytest.mark.parametrize("name", configs.recipes())
def test_no_recipe_sets_a_key_without_effect(name):
    assert advice.warnings(configs.load(name)) == []


def test_the_table_names_keys():
    known = {key.name for key in keys.KEYS}
    for use in advice._USES:
        assert use.names
        assert {*use.names, *use.deciders} <= known


@pytest.mark.parametrize("loss", ["rank_and_sort", "bucketed_rank_and_sort"])
def test_a_threshold_above_the_scores_is_told(loss):
    config = configs.load("shapes_retinanet:baseline")
    config.loss.classification.name = loss
    assert advice.warnings(config) == [
        f"loss.classification.name is '{loss}', which orders scores but leaves them low, so "
        "evaluation.score_threshold=0.05 may leave out most detections; set it to 0."
    ]
    config.evaluation.score_threshold = 0.0
    assert advice.warnings(config) == []
    config.loss.classification.name = "average_lrp"
    config.evaluation.score_threshold = 0.05
    assert advice.warnings(config) == []
