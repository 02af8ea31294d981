import os
import re
import subprocess
import sys

import pytest

from configs import coco_folder_retinanet, coco_ssd
from ioub_jax import configs
from ioub_jax.configs import defaults, keys
from tests import tiny


def printed(*arguments, columns=100):
    """What `ioub config` prints into a pipe, and how it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.config", *arguments],
        cwd=tiny.ROOT,
        env=os.environ | {"COLUMNS": str(columns)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_in(text):
    return re.findall(r"^  (\S+) =", text, flags=re.MULTILINE)


def joined(text):
    """The text without the line breaks and the indentation."""
    return " ".join(text.split())


@pytest.mark.parametrize("columns", [60, 100])
def test_the_whole_table_is_printed(columns):
    text = printed(columns=columns)
    lines = text.splitlines()
    # What is longer is one word, as the name of a file.
    assert all(len(line) <= columns or len(line.split()) < 3 for line in lines)
    assert any(len(line) > columns - 15 for line in lines)
    assert names_in(text) == [key.name for key in keys.KEYS]
    for key in keys.KEYS:
        of_families = map(key.default_of, keys.FAMILIES)
        default = next(value for value in of_families if value is not keys.NO_KEY)
        words = f"It must be {key.must_be}. {key.meaning}"
        assert f"{key.name} = {default!r}" in joined(text)
        assert f" {words} " in joined(text)
    for name in configs.recipes():
        assert f"\n  {name}\n" in text
    positions = [text.index(f"\n{title}") for title in keys.SECTIONS.values()]
    assert positions == sorted(positions)


def test_what_the_families_have_is_told():
    assert printed("model.input_size", "matcher.background_iou", "model.norm").splitlines() == [
        "The network: model.*",
        "",
        "  model.input_size = 300 (ssd alone)",
        "      It must be one of 300, 512.",
        "      Height and width of an SSD's input images in pixels; data.canvases has to agree.",
        "  model.input_size = 320 (ssdlite alone)",
        "      It must be a whole number, at least 32.",
        "      Height and width of an SSDLite's input images; data.canvases has to agree.",
        "  model.norm = 'batch_norm' (not in ssd)",
        "      It must be one of frozen_bn, batch_norm, group_norm, layer_norm.",
        "      The norms of the backbone. Those of batch_norm use the statistics of the global "
        "batch, those",
        "      of frozen_bn keep their initial statistics; layer_norm is for ConvNeXt and ViT.",
        "",
        "The assignment of anchors to boxes: matcher.*",
        "",
        "  matcher.background_iou = 0.4 (ssd: 0.5; ssdlite: 0.5)",
        "      It must be a number, above 0 and at most 1.",
        "      IoU below which an anchor is background, at most foreground_iou; anchors between "
        "the two have",
        "      no loss. In an SSD there are none between them.",
        "",
    ]


def test_a_part_and_a_key_are_what_is_asked_for():
    part = printed("config.loss.classification")
    expected = [key.name for key in keys.KEYS if key.name.startswith("loss.classification.")]
    assert names_in(part) == expected
    assert names_in(printed("seed", "loss.classification.eta")) == [
        "seed",
        "loss.classification.eta",
    ]


def values_in(text):
    """Key -> the value, the default behind it, and whether it has a star, of unbroken lines."""
    found = {}
    for line in text.splitlines():
        if line[:2] in ("* ", "  ") and " = " in line:
            name, _, rest = line[2:].partition(" = ")
            value, _, default = rest.partition(" (default: ")
            found[name] = (value, default.removesuffix(")"), line[0] == "*")
    return found


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("coco_folder_retinanet:lite0", coco_folder_retinanet.get_config("lite0")),
        ("coco_ssd:512,cls", coco_ssd.get_config("512,cls")),
    ],
)
def test_the_values_of_a_configuration_have_a_star_where_they_are_no_defaults(name, config):
    found = values_in(printed(f"--config={name}", columns=500))
    known = keys.of_family(config.model.name)
    assert found.keys() == known.keys()
    for key, (value, default, star) in found.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        assert value == repr(node[last])
        assert star == (node[last] != known[key].default_of(config.model.name))
        assert default == (repr(known[key].default_of(config.model.name)) if star else "")


def test_what_is_set_and_keys_of_its_own_are_printed(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from ioub_jax.configs import defaults\n"
        "def get_config():\n"
        "  config = defaults.get_config()\n"
        "  config.data.mine = 3\n"
        "  config.others = type(config)({'a': 1})\n"
        "  return config\n"
    )
    flags = (f"--config={tmp_path / 'mine.py'}", "--config.batch_size=4", "--config.data.mine=5")
    shown = printed(*flags, "batch_size", "data.mine", "others")
    assert shown.splitlines() == [
        "A star marks a value that is not the default, which follows it.",
        "",
        "The run",
        "",
        "* batch_size = 4 (default: 16)",
        "",
        "The data: data.*",
        "",
        "  data.mine = 5 (a key of its own, not in the table)",
        "",
        "Of its own: others.*",
        "",
        "  others.a = 1 (a key of its own, not in the table)",
        "",
    ]
    assert "data.mine" in names_in(printed(flags[0]))


def test_it_waits_for_no_library():
    program = (
        "import runpy, sys\n"
        "sys.argv = ['ioub', 'config', 'seed']\n"
        "try:\n"
        "  from ioub_jax.commands.listing import main; main()\n"
        "except SystemExit as end:\n"
        "  print(end.code, [name for name in ('jax', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tiny.ROOT, text=True, capture_output=True
    )
    assert done.stdout.splitlines()[-1] == "None []", done.stdout + done.stderr


def test_the_defaults_have_no_star():
    assert not any(
        star for *_, star in values_in(printed(f"--config={defaults.__file__}")).values()
    )
