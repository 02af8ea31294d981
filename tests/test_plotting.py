import json
import types

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ioub_jax import plotting
from ioub_jax.plotting import curves, drawing, sheets
from ioub_jax.plotting.class_colors import CLASS_COLORS
from ioub_jax.plotting.drawing import GRAY
from ioub_jax.plotting.name_places import overlap

CLASSES = ("circle", "square")
NO_BOXES = np.zeros((0, 4), np.float32)
NOTHING = np.zeros(0)


def read(path):
    """The pixels of a PNG, uint8 [H, W, 3]."""
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def count(pixels, color):
    """How many pixels are within rounding of a color in [0, 1]."""
    target = np.round(np.array(color[:3]) * 255)
    return int((np.abs(pixels - target) <= 2).all(axis=-1).sum())


def image(height=128, width=128):
    return np.full((height, width, 3), 128, np.uint8)


def test_contact_sheet_has_a_cell_for_every_image(tmp_path):
    path = tmp_path / "sheet.png"
    boxes = np.float32([[10, 10, 60, 60]])
    plotting.contact_sheet(
        path,
        [image(), image(), image(100, 200)],
        [(boxes, np.int32([0])), (NO_BOXES, NOTHING), (boxes, np.int32([-1]))],
        [(boxes, np.int32([1]), np.float32([0.9])), *[(NO_BOXES, NOTHING, NOTHING)] * 2],
        CLASSES,
        columns=2,
        title="three images",
    )
    pixels = read(path)
    # Inches: width at least 6; height a title .35, rows of 2.75 and 2.75 / 2 with gaps of .08, and
    # a legend of .2 + .2. At 150 dots an inch.
    assert pixels.shape[1] == 900
    assert pixels.shape[0] == pytest.approx(150 * (0.35 + 2.75 * 1.5 + 2 * 0.08 + 0.4), abs=1)
    # Two cells of 2.75 inches squared and one of half the height are mostly gray.
    assert count(pixels, (128 / 255,) * 3) > 0.9 * 2.5 * (2.75 * 150) ** 2


def test_contact_sheet_draws_detections_above_the_threshold_in_their_color(tmp_path):
    path = tmp_path / "sheet.png"
    boxes = np.float32([[10, 10, 60, 60], [70, 70, 120, 120]])
    found = (boxes, np.int32([0, 1]), np.float32([0.31, 0.29]))
    plotting.contact_sheet(path, [image()], [(NO_BOXES, NOTHING)], [found], CLASSES)
    assert count(read(path), CLASS_COLORS[0]) > 1000
    assert count(read(path), CLASS_COLORS[1]) == 0
    plotting.contact_sheet(
        path, [image()], [(NO_BOXES, NOTHING)], [found], CLASSES, score_threshold=0.1
    )
    assert count(read(path), CLASS_COLORS[1]) > 1000


def test_contact_sheet_of_no_images(tmp_path):
    plotting.contact_sheet(tmp_path / "sheet.png", [], [], [], [])
    assert read(tmp_path / "sheet.png").shape[1] == 900


def test_contact_sheet_needs_one_of_each(tmp_path):
    with pytest.raises(ValueError, match="2 images, 1 ground truths and 0 detections"):
        plotting.contact_sheet(
            tmp_path / "sheet.png", [image()] * 2, [(NO_BOXES, NOTHING)], [], CLASSES
        )


def test_contact_sheet_takes_many_classes_and_any_name(tmp_path):
    """Warnings are errors: no glyph may be missing, no formula parsed, no legend entry hidden."""
    classes = ["_hidden", "x_1$", "$a$", "Straße", "血小板", "two\nlines", *map(str, range(30))]
    corners = np.stack([np.arange(36), np.arange(36)], axis=1) * 3.0
    boxes = np.concatenate([corners, corners + 20], axis=1)
    path = tmp_path / "sheet.png"
    found = (boxes, np.arange(36), np.linspace(0.4, 1, 36))
    plotting.contact_sheet(
        path, [image()], [(boxes, np.arange(36))], [found], classes, title="标题 $5_"
    )
    assert read(path).size


def labeled(boxes, labels, crowd=False, difficult=False, ignored=False):
    count = len(labels)
    return types.SimpleNamespace(
        boxes=np.reshape(np.float32(boxes), (-1, 4)),
        labels=np.int32(labels),
        crowd=np.full(count, crowd),
        difficult=np.full(count, difficult),
        ignored=np.full(count, ignored),
    )


def test_labeled_sheet_draws_boxes_in_their_class_color(tmp_path):
    path = tmp_path / "sheet.png"
    examples = [labeled([[10, 30, 60, 60], [70, 70, 120, 120]], [0, 1]), labeled([], [])]
    plotting.labeled_sheet(path, [image(), image(100, 200)], examples, CLASSES, title="two")
    pixels = read(path)
    # One row of two cells of 2.75 inches in at least 6, a title of .35 and a legend of .4.
    assert pixels.shape[1] == 900
    assert pixels.shape[0] == pytest.approx(150 * (0.35 + 2.75 + 0.08 + 0.4), abs=1)
    # An outline of 1.8 points around (50 + 30) * 2 pixels of 2.75 * 150 / 128 dots, and a name.
    for label in (0, 1):
        assert count(pixels, CLASS_COLORS[label]) > 160 * 3.2 * 2.5
    assert count(pixels, CLASS_COLORS[2]) == 0


def test_labeled_sheet_tells_objects_from_difficult_ones_and_crowds(tmp_path):
    inked, legends = [], []
    for flags in ({}, {"difficult": True}, {"crowd": True}):
        path = tmp_path / "sheet.png"
        example = labeled([[10, 30, 110, 120]], [1], **flags)
        plotting.labeled_sheet(path, [image()], [example], ["a", "a"])
        pixels = read(path)
        # In dots: inside the box, away from its outline and from the name above it.
        scale, left, top = 2.75 * 150 / 128, (900 - 2.75 * 150) / 2, 0.08 * 150
        inside = pixels[int(top + 34 * scale) : int(top + 116 * scale)]
        inside = inside[:, int(left + 14 * scale) : int(left + 106 * scale)]
        sheet = pixels[: int(2.83 * 150)]
        color = CLASS_COLORS[1]
        inked.append((count(sheet, color), count(inside, color)))
        legends.append(count(pixels[int(2.9 * 150) :], (1, 1, 1)))
    (solid, _), (dashed, _), (_, hatched) = inked
    assert dashed < 0.8 * solid
    assert hatched > 500 and inked[0][1] == inked[1][1] == 0
    # The legend explains what there is.
    assert len(set(legends)) == 3 and max(legends) == legends[0]


def test_labeled_sheet_draws_regions_to_ignore_in_gray(tmp_path):
    path = tmp_path / "sheet.png"
    example = labeled([[10, 30, 110, 120]], [-1], ignored=True)
    plotting.labeled_sheet(path, [image()], [example], ["a"])
    pixels = read(path)
    assert count(pixels, to_rgb(GRAY)) > 500
    assert not any(count(pixels, color) for color in CLASS_COLORS[:2])


def test_labeled_sheet_of_many_classes_and_sizes(tmp_path):
    names = [f"class {number}" + " long" * (number % 7) for number in range(80)]
    path = tmp_path / "sheet.png"
    images = [image(20, 300), image(300, 20), image(1, 1), image(128, 128)]
    corners = np.stack([np.arange(80) % 10, np.arange(80) // 10], axis=1) * 12.0
    boxes = np.concatenate([corners, corners + 15], axis=1)
    examples = [labeled([], [])] * 3 + [labeled(boxes, np.arange(80))]
    plotting.labeled_sheet(path, images, examples, names)
    # 36 letters of 8 points are wide: three columns, so 27 rows of .2 inches.
    legend = 0.2 + 0.2 * np.ceil(80 / sheets._legend_columns(names, 4 * 2.83 + 0.08))
    assert read(path).shape[0] == pytest.approx(150 * (0.08 + 2.75 * 1.2 + 0.08 + legend), abs=1)
    assert legend > 0.2 + 0.2 * 80 / 5


def test_fewer_columns_make_larger_images(tmp_path):
    widths = []
    for columns in (1, 2, 4):
        path = tmp_path / "sheet.png"
        examples = [labeled([], [])] * 4
        plotting.labeled_sheet(path, [image(4, 32)] * 4, examples, CLASSES, columns=columns)
        widths.append(read(path).shape[1])
    # 11 inches and a gap of .08 more than there are columns.
    assert widths == pytest.approx([150 * (11 + 0.08 * (n + 1)) for n in (1, 2, 4)], abs=1)


def test_labeled_sheet_of_no_images(tmp_path):
    plotting.labeled_sheet(tmp_path / "sheet.png", [], [], CLASSES)
    assert read(tmp_path / "sheet.png").shape[1] == 900
    with pytest.raises(ValueError, match="1 images and 0 examples"):
        plotting.labeled_sheet(tmp_path / "sheet.png", [image()], [], CLASSES)


def test_names_never_cover_each_other_and_stay_in_the_image():
    axes = Figure(figsize=(3, 3), dpi=drawing.DPI).add_axes((0, 0, 1, 1))
    drawing.show_image(axes, image())
    generator = np.random.default_rng(0)
    taken = []
    for _ in range(60):
        corner = generator.uniform(-10, 120, 2)
        box = np.concatenate([corner, corner + generator.uniform(5, 60, 2)])
        place = sheets._free_place(axes, box, "square 0.90", taken)
        if place is not None:
            assert (place[:2] >= 0).all() and (place[2:] <= 128 + 1e-9).all()
            assert not any(overlap(place, other) for other in taken)
            taken.append(place)
    assert 10 < len(taken) < 60


@pytest.mark.parametrize("number", [0, 1, 120])
def test_positive_anchors(tmp_path, number):
    generator = np.random.default_rng(1)
    corners = generator.uniform(0, 64, (number, 2))
    anchors = np.concatenate([corners, corners + 40], axis=1).astype(np.float32)
    ious = generator.uniform(0, 1, number).astype(np.float32)
    path = tmp_path / "anchors.png"
    truth = np.float32([[20, 20, 60, 60]])[:number]
    plotting.positive_anchors(
        path, image(), truth, anchors, anchors + 2, ious, 2 * ious**1.5, title="βετα = 1.5"
    )
    # A square image: 13 by 1.3 + 3.7 inches.
    assert read(path).shape == (750, 1950, 3)


def test_positive_anchors_colors_the_best_brightest(tmp_path):
    """One anchor of IoU 1 in the middle: viridis' last color is there; of IoU 0, its first."""
    box = np.float32([[30, 30, 90, 90]])
    for iou, shown, hidden in ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        path = tmp_path / "anchors.png"
        plotting.positive_anchors(path, image(), NO_BOXES, box, box, [iou], [iou])
        left_panel = read(path)[60:600, :550]
        viridis = matplotlib.colormaps["viridis"]
        # The center's dot; the box's edge is translucent.
        assert count(left_panel, viridis(shown)) > 20
        assert count(left_panel, viridis(hidden)) == 0


def run_records(steps):
    return [
        {
            "step": step,
            "loss": 2 / (1 + step),
            "loss_classification": 1 / (1 + step),
            "loss_localization": 1 / (1 + step),
            "mean_positive_iou": step / (1 + step),
            "learning_rate": 0.01,
            "images_per_second": 3.0,
        }
        for step in steps
    ]


@pytest.mark.parametrize(
    ("records", "evaluations"),
    [
        ([], []),
        (run_records([5]), []),
        (
            run_records(range(0, 500, 5)),
            [{"step": 250, "AP": None, "AP50": 0.5, "without_ema_AP": 0.2}],
        ),
        ([{"step": 1, "loss": float("nan")}, {"step": 2, "grad_norm": 1.0}], [{"step": 9}]),
    ],
)
def test_learning_curves(tmp_path, records, evaluations):
    path = tmp_path / "curves.png"
    evaluations = json.loads(json.dumps(evaluations))
    plotting.learning_curves(path, records, evaluations, title="run_1 $")
    assert read(path).shape == (1050, 1650, 3)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved during the test."""
    saved = []
    save = Figure.savefig

    def savefig(figure, *arguments, **options):
        saved.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def test_every_term_of_a_loss_has_a_line(tmp_path, figures):
    records = [row | {"loss_quality": 0.2, "loss_carl": 0.3} for row in run_records([0, 1])]
    plotting.learning_curves(tmp_path / "curves.png", records)
    lines = {line.get_label(): line for line in figures[0].axes[0].lines}
    named = {label for label in lines if not label.startswith("_")}
    assert named == {"total", "classification", "localization", "quality", "carl"}
    assert list(lines["quality"].get_ydata()) == [0.2, 0.2]
    assert len({lines[label].get_color() for label in named}) == 5


def test_other_numbers_have_panels_of_their_own(tmp_path, figures):
    evaluations = [
        {"step": 5, "voc_AP": 0.5, "voc_AP75": 0.3, "found": 7.0, "without_ema_found": 2.0},
        {"step": 9, "voc_AP": 0.6, "voc_AP75": 0.2, "found": None, "missed": 4.0},
    ]
    plotting.learning_curves(
        tmp_path / "curves.png",
        run_records([5]),
        evaluations,
        precision="voc_AP",
        others=("found", "missed", "absent"),
    )
    drawn = [
        {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        for axes in figures[0].axes
    ]
    assert drawn[2] == {"voc_AP": [0.5, 0.6], "voc_AP75": [0.3, 0.2]}
    np.testing.assert_equal(drawn[4], {"found": [7.0, np.nan], "found without EMA": [2.0]})
    assert drawn[5:] == [{"missed": [4.0]}, {}, {}]
    assert figures[0].axes[6].texts[0].get_text() == "not recorded"
    assert not figures[0].axes[7].axison


def test_single_points_are_seen(tmp_path):
    path = tmp_path / "curves.png"
    plotting.learning_curves(path, run_records([5]), [{"step": 5, "without_ema_AP": 0.5}])
    pixels = read(path)
    # A dot of 6 points in each panel of the upper left, upper right and lower right.
    assert count(pixels, to_rgb(curves.BLUE)) > 50 and count(pixels, to_rgb(curves.GREEN)) > 50
    precision, rate = pixels[560:975, 75:800], pixels[560:975, 900:]
    assert count(precision, to_rgb(curves.GRAY)) > 20 and count(rate, to_rgb(curves.GRAY)) > 50


@pytest.mark.parametrize(
    ("series", "end"),
    [
        ([], 1.0),
        ([[np.nan]], 1.0),
        ([[0.0, 0.0]], 0.1),
        ([[0.01, np.nan], [0.04]], 0.1),
        # .29 is too near to .3 to end there.
        ([[0.11], [0.25, 0.29, 0.2]], 0.4),
        ([[0.27]], 0.3),
        ([[0.99]], 1.0),
        ([[1.0]], 1.0),
    ],
)
def test_the_axis_of_precision_ends_at_a_tenth_above_the_curves(series, end):
    assert curves._precision_end(series) == pytest.approx(end)


def test_smoothing_is_a_running_mean():
    axes = Figure().add_subplot()
    records = [{"step": 10 * step, "loss": float(step % 2)} for step in range(80)]
    curves._plot_smoothed(axes, records, "loss", "total", "black")
    raw, smooth = (line.get_ydata() for line in axes.lines)
    np.testing.assert_array_equal(raw, np.arange(80) % 2)
    # 80 // 40 = 2 records on each side: inside, five records of which two or three are 1.
    np.testing.assert_allclose(smooth[2:-2:2], 2 / 5)
    np.testing.assert_allclose(smooth[3:-2:2], 3 / 5)
    # At the first record three remain: 0, 1, 0.
    assert smooth[0] == pytest.approx(1 / 3)


def test_a_detection_is_outlined_and_named_at_the_images_own_size():
    image = np.full((120, 200, 3), 255, np.uint8)
    boxes = [[20.0, 40.0, 120.0, 100.0]]
    drawn = plotting.draw_on_image(image, boxes, [1], [0.87], ["cat", "dog"])
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    changed = np.argwhere((drawn != 255).any(axis=2))
    # The outline covers columns 20 to 119 and rows 40 to 99, its rim one more; the name stands
    # above it.
    assert changed[:, 1].min() == 19 and changed[:, 1].max() == 120
    assert changed[:, 0].max() == 100 and changed[:, 0].min() < 39
    assert drawn[70, 20].tolist() == [round(255 * part) for part in CLASS_COLORS[1][:3]]
    assert drawn[70, 19].tolist() == [95] * 3  # a rim of 160 / 255 black on white
    # Inside it nothing is drawn.
    assert (drawn[45:95, 25:115] == 255).all()
    assert (image == 255).all()


def test_detections_over_the_edge_and_none_at_all():
    image = np.zeros((40, 30, 3), np.uint8)
    np.testing.assert_array_equal(plotting.draw_on_image(image, [], [], [], []), image)
    everything = [[0.0, 0.0, 30.0, 40.0], [29.5, 39.5, 30.0, 40.0], [5.0, 5.0, 5.0, 5.0]]
    drawn = plotting.draw_on_image(image, everything, [0, 25, 1], [1.0, 0.5, 0.1], ["x"] * 26)
    assert (drawn[0, 0] != 0).any() and (drawn[39, 29] != 0).any()


def test_a_small_image_is_enlarged_until_names_can_be_read():
    # 480 / 64 is 7.5: eight times the size, and the box begins at 8 * 32.
    image = np.full((48, 64, 3), 255, np.uint8)
    drawn = plotting.draw_on_image(
        image, [[32.0, 24.0, 60.0, 40.0]], [0], [0.5], ["a long name"], least_side=480
    )
    assert drawn.shape == (8 * 48, 8 * 64, 3)
    changed = np.argwhere((drawn != 255).any(axis=2))
    assert changed[:, 1].min() == 8 * 32 - 1 and changed[:, 0].max() == 8 * 40
    assert plotting.draw_on_image(image, [], [], [], [], least_side=64).shape == image.shape


def test_a_name_that_would_cover_a_better_one_is_left_out():
    image = np.full((100, 100, 3), 255, np.uint8)
    boxes = [[10.0, 30.0, 90.0, 60.0]] * 20
    few, many = (
        plotting.draw_on_image(image, boxes[:count], [0] * count, [0.5] * count, ["name"])
        for count in (16, 20)
    )
    # The places at one box are soon taken; what is drawn of the others is the same outline.
    color = np.array([round(255 * part) for part in CLASS_COLORS[0][:3]])
    inked = [int((drawn == color).all(axis=2).sum()) for drawn in (few, many)]
    assert inked[0] == inked[1] > 500
