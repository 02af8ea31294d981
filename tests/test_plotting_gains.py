"""The picture of a comparison: whatever the arms are called, nothing written covers anything."""

import itertools

import pytest
from matplotlib.figure import Figure

from ioub_jax.plotting import gains as plotting

METRICS = ("AP", "AP50")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written while a test runs."""
    figures = []
    save = Figure.savefig

    def savefig(figure, *arguments, **options):
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def draw(path, arms):
    """Two seeds of every arm, the first of which the others are compared with."""
    values = {
        arm: {metric: {seed: 0.4 + 0.01 * seed for seed in range(2)} for metric in METRICS}
        for arm in arms
    }
    intervals = {arm: dict.fromkeys(METRICS, (0.01, -0.02, 0.04)) for arm in arms[1:]}
    plotting.comparison(path, values, intervals, metrics=METRICS, title="A title")


def around(figure):
    """The words left of and below the panels, with the boxes that they take."""
    figure.draw_without_rendering()
    first, below = figure.axes[0], figure.axes[len(METRICS)]
    words = [first.yaxis.label, below.yaxis.label, *below.get_xticklabels()]
    return {text.get_text(): text.get_tightbbox() for text in words}


@pytest.mark.parametrize(
    ("arms", "key", "names"),
    [
        (("loss.a.eta=0", "loss.a.eta=1.5"), "loss.a.eta", ["0", "1.5"]),
        (("loss.a.eta=0", "loss.b.eta=1.5"), "", ["loss.a.eta=0", "loss.b.eta=1.5"]),
        (("baseline", "both"), "", ["baseline", "both"]),
    ],
)
def test_values_of_one_key_are_named_by_it_once(tmp_path, drawn, arms, key, names):
    draw(tmp_path / "a.png", arms)
    (figure,) = drawn
    assert figure.get_supxlabel() == key
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == names


@pytest.mark.parametrize(
    "arms",
    [
        tuple(f"loss.localization.lambda_={value}" for value in (0, 0.5, 1, 1.5, 1.8)),
        ("baseline", "cls", "loc", "both", "loc_weight_only"),
        ("somebody's long name of a run", "another long name of a run, longer by far"),
        ("one",),
    ],
)
def test_no_words_cover_others(tmp_path, drawn, arms):
    draw(tmp_path / "a.png", arms)
    (figure,) = drawn
    boxes = around(figure)
    assert len(boxes) == 2 + len(arms)
    for first, second in itertools.combinations(boxes, 2):
        # Of names side by side that are turned only the boxes meet, not the words.
        if not ({first, second} <= set(arms) and max(map(len, arms)) <= 16):
            assert not boxes[first].overlaps(boxes[second]), (first, second)


def test_other_metrics_are_not_drawn_in_hundredths(tmp_path, drawn):
    metrics = ("AP", "count")
    values = {arm: {metric: {0: 0.5, 1: 0.6} for metric in metrics} for arm in "ab"}
    intervals = {"b": {metric: (0.01, -0.02, 0.04) for metric in metrics}}
    plotting.comparison(tmp_path / "a.png", values, intervals, metrics=metrics)
    (figure,) = drawn
    heights = [axes.lines[1].get_ydata() for axes in figure.axes[2:]]
    assert [list(each) for each in heights] == [[-2.0, 4.0], [-0.02, 0.04]]
    assert [axes.get_ylabel() for axes in figure.axes[2:]] == [
        "difference from the first,\n95% interval (hundredths)",
        "not in hundredths",
    ]
    plotting.comparison(tmp_path / "b.png", values, intervals, metrics=metrics[1:])
    assert drawn[1].axes[1].get_ylabel() == "difference from the first,\n95% interval"


def names_of_rows(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_many_arms_are_rows_from_the_largest_gain_to_the_smallest(tmp_path, drawn):
    arms = ["base", *(f"loss with number {number}" for number in range(12))]
    order = [3, 1, 2, 0, 4, 5, 11, 10, 9, 8, 7, 6]
    gains = dict(zip(arms[1:], [0.01 * order.index(number) for number in range(12)], strict=True))
    values = {arm: {"AP": dict.fromkeys(range(2), 0.3 + gains.get(arm, 0.0))} for arm in arms}
    intervals = {arm: {"AP": (gains[arm], gains[arm] - 0.01, gains[arm] + 0.01)} for arm in gains}
    plotting.comparison(tmp_path / "a.png", values, intervals, metrics=["AP"], title="A title")
    (figure,) = drawn
    assert names_of_rows(figure) == [f"loss with number {number}" for number in reversed(order)]
    assert figure.get_supxlabel() == "difference from base"
    figure.draw_without_rendering()
    boxes = [label.get_tightbbox() for label in figure.axes[0].get_yticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_an_arm_far_from_the_others_is_written_at_the_edge(tmp_path, drawn):
    arms = ["base", *(f"a{number}" for number in range(12))]
    gains = {arm: 0.001 * place for place, arm in enumerate(arms)} | {"a3": -0.3}
    values = {arm: {"AP": dict.fromkeys(range(2), 0.3 + gains[arm])} for arm in arms}
    intervals = {arm: {"AP": (gains[arm],) * 3} for arm in arms[1:]}
    plotting.comparison(tmp_path / "a.png", values, intervals, metrics=["AP"])
    (figure,) = drawn
    (axes,) = figure.axes
    # Of the distances .1 .. 1.2 without .4, and 30, the 90th percentile is 1.19: twice that.
    assert axes.get_xlim()[1] < 2.6
    assert [text.get_text() for text in axes.texts] == ["-30"]
    assert names_of_rows(figure)[-1] == "a3"


def test_many_arms_without_pairs_are_drawn(tmp_path, drawn):
    values = {f"a{number}": {"AP": {number: 0.3}} for number in range(12)}
    plotting.comparison(tmp_path / "a.png", values, {}, metrics=["AP"])
    assert len(names_of_rows(drawn[0])) == 11
