import pytest

from ioub_jax.configs import arguments

BACKBONES, ARMS = ("r50", "r101"), ("both", "cls")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("", ["r50", "both"]),
        ("cls", ["r50", "cls"]),
        ("r101,cls", ["r101", "cls"]),
        ("cls, r101", ["r101", "cls"]),
    ],
)
def test_words_come_in_any_order_and_have_defaults(argument, expected):
    assert arguments.parse(argument, BACKBONES, ARMS) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("", ["r101", "both"]), ("cls", ["r101", "cls"]), ("r50,both", ["r50", "both"])],
)
def test_other_words_than_the_first_can_be_usual(argument, expected):
    assert arguments.parse(argument, BACKBONES, ARMS, usual="r101") == expected


def test_unknown_and_double_words_are_refused():
    with pytest.raises(ValueError, match=r"Unknown word 'r51' in 'r51,cls'; it must be one of"):
        arguments.parse("r51,cls", BACKBONES, ARMS)
    with pytest.raises(ValueError, match="'r50,r101' has r50 and r101; give one of"):
        arguments.parse("r50,r101", BACKBONES, ARMS)


def test_what_recipes_share_is_where_it_was_too():
    from configs.backbones import BACKBONES, use_backbone

    from configs import defaults

    config = defaults.get_config("cls")
    use_backbone(config.model, "r18")
    assert config.model.backbone == BACKBONES["r18"] == "resnet18"
