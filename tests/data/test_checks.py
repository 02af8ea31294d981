import pytest

from ioub_jax.data.checks import DataError, Problem, Problems

ADVICE = ", or set config.data.on_error='skip' to leave the box out."


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            f"a.xml: box 4 has no area; fix or delete it{ADVICE}",
            "a.xml: box 4 has no area; fix or delete it.",
        ),
        (
            "a.jpg: is empty; replace it, or set config.data.on_error='skip' to train without it.",
            "a.jpg: is empty; replace it.",
        ),
        # Only advice at the end is advice.
        (
            "a.jpg: has 3 objects; raise max_boxes to 3.",
            "a.jpg: has 3 objects; raise max_boxes to 3.",
        ),
        (
            f"a{ADVICE}jpg: is missing; restore the file.",
            f"a{ADVICE}jpg: is missing; restore the file.",
        ),
    ],
)
def test_what_was_skipped_is_told_without_the_advice_to_skip(sentence, told):
    problems = Problems("skip")
    problems.add("no_area", sentence)
    assert [str(problem) for problem in problems.found] == [told]
    assert problems.found == [Problem("no_area", sentence)]


def test_an_error_keeps_the_advice():
    with pytest.raises(DataError) as caught:
        Problems("raise").add("no_area", f"a.xml: has no area; fix it{ADVICE}")
    assert str(caught.value) == f"a.xml: has no area; fix it{ADVICE}"


@pytest.mark.parametrize(
    ("kind", "end", "left_out"),
    [
        ("no_area", ADVICE, "box"),
        ("bad_box", ADVICE.replace("box", "object"), "box"),
        # An entry that cannot be read may be of either.
        ("broken_annotation", ADVICE.replace("box", "image"), "image"),
        ("duplicate_image", ADVICE.replace("leave the box out", "read it once"), ""),
        ("bad_box", ADVICE.replace("leave the box out", "ignore the region of the box"), "box"),
        (
            "broken_annotation",
            ADVICE.replace("the box out", "the image out with its 2 boxes"),
            "image",
        ),
        ("unknown_image", ADVICE.replace("the box", "it"), "box"),
        ("missing_image", ".", "image"),
        ("outside", ".", "box"),
    ],
)
def test_what_a_problem_leaves_out(kind, end, left_out):
    assert Problem(kind, f"a.json: is wrong; mend it{end}").leaves_out == left_out
