import shlex

import pytest

from ioub_jax.data.sources.voc_classes import classes_flag, describe_unknown, resembling


@pytest.mark.parametrize(
    ("names", "flag"),
    [
        (("bolt", "nut"), "--config.data.voc.classes=bolt,nut"),
        (("M-8", "écrou_2"), "--config.data.voc.classes=M-8,écrou_2"),
        (("bolt",), "--config.data.voc.classes=('bolt',)"),
        (("traffic light", "it's"), "--config.data.voc.classes=('traffic light', \"it's\")"),
        (("1", "2"), "--config.data.voc.classes=('1', '2')"),
        (("$HOME", "a,b"), "--config.data.voc.classes=('$HOME', 'a,b')"),
    ],
)
def test_the_flag_is_what_a_shell_takes(names, flag):
    assert shlex.split(classes_flag(names)) == [flag]


def test_names_resemble_in_case_spaces_and_dashes_alone():
    classes = ("tvmonitor", "C", "C++", "+", "-", "ab")
    assert resembling("TV-monitor", classes) == "tvmonitor"
    assert resembling("tv monitors", classes) is None
    assert resembling("C++", classes) is None and resembling("+", classes) is None
    assert resembling("c", classes) is None and resembling("AB", classes) == "ab"


def test_of_many_unknown_names_the_most_frequent_are_told():
    unknown = {f"name{number:02}": number for number in range(1, 31)}
    sentence = describe_unknown(unknown, ("cat",))
    # 1 + 2 + ... + 30 = 465.
    assert sentence.startswith(
        "has the first of 465 objects of no class of the list: 'name30' (30)"
    )
    assert ", 'name11' (11), and 10 more names; correct" in sentence
    assert sentence.count("name10") == 1  # in the flag
    # A detector that is there learns no more.
    assert describe_unknown(unknown, ("cat",), False).endswith("10 more names; correct the names")
