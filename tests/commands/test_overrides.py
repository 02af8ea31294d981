"""What can be written behind --config.KEY=."""

import pathlib
import types

import pytest
from absl import flags
from ml_collections import config_dict, config_flags

from ioub_jax.commands import overrides
from ioub_jax.configs import defaults, ssd_defaults
from tests import tiny


def parsed(*settings, config=None):
    """The configuration of a command with those settings, and what they are as a dict."""
    arguments = ["command", *(f"--config.{setting}" for setting in settings)]
    values = flags.FlagValues()
    config = config or defaults.get_config()
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
    values(arguments)
    overrides.check(values)
    return values.config, values["config"].override_values


def optional_keys(config, path=""):
    for key, value in config.items(preserve_field_references=True):
        if isinstance(value, config_dict.ConfigDict):
            yield from optional_keys(value, f"{path}{key}.")
        elif isinstance(value, config_dict.FieldReference) and value.get_type() is not object:
            yield f"{path}{key}"


VALUES = {str: "name", float: 0.5, int: 2, bool: True, tuple: ("a", "b")}


@pytest.mark.parametrize("get_config", [defaults.get_config, ssd_defaults.get_config])
def test_every_optional_key_can_be_unset(get_config):
    keys = list(optional_keys(get_config()))
    assert len(keys) >= 10
    for key in keys:
        config = get_config()
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node[last] = VALUES[node.get_type(last)]
        assert dict(parsed(f"{key}=None", config=config)[1]) == {key: None}
        assert node[last] is None, key


def test_the_configurations_keep_their_optional_keys_optional():
    """A value that replaces the placeholder would make its None unknown on the command line."""
    expected = set(optional_keys(defaults.get_config()))
    for path in sorted((tiny.ROOT / "configs").glob("*_retinanet.py")):
        module = types.ModuleType(path.stem)
        exec(compile(path.read_text(), path, "exec"), module.__dict__)
        assert set(optional_keys(module.get_config())) == expected, path


@pytest.mark.parametrize(
    ("setting", "kind"),
    [("batch_size=None", "int"), ("data.coco.root=None", "str"),
     ("data.coco.val_images=None", "str"), ("data.canvases=None", "tuple"),
     ("data.keep_empty=None", "bool"), ("schedule.base_learning_rate=None", "float")],
)  # fmt: skip
def test_none_is_refused_where_a_key_has_to_be_set(setting, kind):
    with pytest.raises(flags.Error, match=f"{setting}: the key cannot be None, .* type {kind}$"):
        parsed(setting)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.json", "a.json"),
        ("a.json,b.json", ("a.json", "b.json")),
        ("('a.json', 'b.json')", ("a.json", "b.json")),
        ("('a,b.json',)", "a,b.json"),
        ("images (1)", "images (1)"),
        ("2017", "2017"),
        ("", ""),
    ],
)
def test_a_key_of_files_takes_one_or_several(text, value):
    config, given = parsed(f"data.coco.train_annotations={text}")
    assert config.data.coco.train_annotations == given["data.coco.train_annotations"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("effective_number", "effective_number"),
        ("1.0,2.5", (1.0, 2.5)),
        ("(1, 2)", (1, 2)),
        ("dent=2.0", "dent=2.0"),
        ("dent=2.0,big scratch=1", ("dent=2.0", "big scratch=1")),
        ("None", None),
    ],
)
def test_class_weights_are_numbers_or_names_with_numbers(text, value):
    config, _ = parsed(f"loss.classification.class_weights={text}")
    assert config.loss.classification.class_weights == value


def test_numbers_of_a_key_that_takes_numbers_stay_numbers():
    assert parsed("optimizer.betas=0.9,0.95")[0].optimizer.betas == (0.9, 0.95)
    assert parsed("data.voc.classes=1,2")[0].data.voc.classes == ("1", "2")


def test_shares_are_given_one_by_one_or_together():
    assert parsed("data.split.val=0.1")[0].data.split.val == 0.1
    config, _ = parsed("data.split={'val': 0.1, 'seed': 3}")
    assert config.data.split.to_dict() == {"val": 0.1, "seed": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("('a','b')", ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ("a,b", ("a", "b")),
        (" a , b ", ("a", "b")),
        ("(a,b)", ("a", "b")),
        ("a,", ("a",)),
        ("('cat')", ("cat",)),
        ("cat", ("cat",)),
        ("'cat'", ("cat",)),
        ("traffic light,'stop sign'", ("traffic light", "stop sign")),
        ("café,a-b,a/b", ("café", "a-b", "a/b")),
        ("it's", ("it's",)),
        ("1,2", ("1", "2")),  # classes may be called so
        ("None,True", ("None", "True")),
        ("()", ()),
    ],
)
@pytest.mark.parametrize("key", ["data.voc.classes", "evaluation.metrics", "data.voc.val_folders"])
def test_names_are_a_tuple_however_they_are_written(key, text, value):
    config, given = parsed(f"{key}={text}")
    part, *_, last = key.split(".")
    node = config[part] if part == "evaluation" else config[part].voc
    assert node[last] == given[key] == value


@pytest.mark.parametrize("text", ["('a','b'", "a,,b", "((a),b", ",", "{'a'"])
def test_what_is_no_tuple_is_refused(text):
    with pytest.raises(flags.Error, match="it is not a tuple; write it as"):
        parsed(f"data.voc.classes={text}")


def test_numbers_stay_numbers_and_the_last_flag_of_a_key_counts():
    config, _ = parsed("data.canvases=((80,96),)", "anchors.ratios=0.2,1", "batch_size=4",
                       "data.canvases=[[160,192],[192,160]]", "batch_size=8",
                       "data.voc.classes=a,b", "data.voc.classes=c")  # fmt: skip
    assert config.data.canvases == ((160, 192), (192, 160))
    assert config.anchors.ratios == (0.2, 1)
    assert config.batch_size == 8
    assert config.data.voc.classes == ("c",)
    assert pathlib.Path(config.data.coco.root) == pathlib.Path()
