from ioub_jax.data.sources.voc_classes import describe_unknown, resembling


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
