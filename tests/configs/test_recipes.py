import pytest

from configs import coco_folder_retinanet
from ioub_jax import configs


def test_every_file_of_the_folder_is_a_recipe():
    assert "coco_folder_retinanet" in configs.recipes()
    assert list(configs.recipes()) == sorted(configs.recipes())
    for name in configs.recipes():
        assert "def get_config(" in configs.recipe_path(name).read_text()
        assert configs.load(name).batch_size > 0


def test_a_recipe_is_loaded_with_its_words():
    config = configs.load("coco_folder_retinanet:lite0,cls")
    assert config.to_json() == coco_folder_retinanet.get_config("lite0,cls").to_json()
    assert config.model.backbone == "efficientnet_lite0"


def test_what_is_loaded_can_be_changed_and_not_be_added_to():
    config = configs.load("coco_folder_retinanet:lite0")
    config.batch_size = 3
    config.data.coco.classes = ("bolt", "nut")
    config.data.coco.classes = None
    config.loss.localization.w_loc = 2.5
    config.model.pretrained = None
    assert (config.batch_size, config.model.pretrained) == (3, None)
    # None is for the keys that may be None, and a type stays what it is.
    with pytest.raises(TypeError):
        config.data.coco.classes = 3
    with pytest.raises(TypeError):
        config.batch_size = "three"
    with pytest.raises((AttributeError, KeyError)):
        config.batchsize = 3
    assert configs.load("coco_folder_retinanet:lite0").batch_size == 8


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("coco", "There is no configuration 'coco'; the configurations are cityscapes_retinanet, "),
        ("__init__", "There is no configuration '__init__'"),
        ("shapes_retinanet:neither", "Unknown arm 'neither'"),
        ("coco_retinanet:r51", "Unknown word 'r51'"),
    ],
)
def test_what_is_no_recipe_is_refused(name, words):
    with pytest.raises(ValueError, match=words):
        configs.load(name)
