import json

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from ioub_jax import plotting

CLASSES = ("circle", "square")
NO_BOXES = np.zeros((0, 4), np.float32)
NOTHING = np.zeros(0)


def read(path):
    """The pixels of a PNG, uint8 [H, W, 3]."""
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def count(pixels, color):
    """How many pixels are within rounding of a colour in [0, 1]."""
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
    # Two cells of 2.75 inches squared and one of half the height are mostly grey.
    assert count(pixels, (128 / 255,) * 3) > 0.9 * 2.5 * (2.75 * 150) ** 2


def test_contact_sheet_draws_detections_above_the_threshold_in_their_colour(tmp_path):
    path = tmp_path / "sheet.png"
    boxes = np.float32([[10, 10, 60, 60], [70, 70, 120, 120]])
    found = (boxes, np.int32([0, 1]), np.float32([0.31, 0.29]))
    plotting.contact_sheet(path, [image()], [(NO_BOXES, NOTHING)], [found], CLASSES)
    assert count(read(path), plotting._CLASS_COLORS[0]) > 1000
    assert count(read(path), plotting._CLASS_COLORS[1]) == 0
    plotting.contact_sheet(
        path, [image()], [(NO_BOXES, NOTHING)], [found], CLASSES, score_threshold=0.1
    )
    assert count(read(path), plotting._CLASS_COLORS[1]) > 1000


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


def test_names_never_cover_each_other_and_stay_in_the_image():
    axes = Figure(figsize=(3, 3), dpi=plotting._DPI).add_axes((0, 0, 1, 1))
    plotting._show_image(axes, image())
    generator = np.random.default_rng(0)
    taken = []
    for _ in range(60):
        corner = generator.uniform(-10, 120, 2)
        box = np.concatenate([corner, corner + generator.uniform(5, 60, 2)])
        place = plotting._free_place(axes, box, "square 0.90", taken)
        if place is not None:
            assert (place[:2] >= 0).all() and (place[2:] <= 128 + 1e-9).all()
            assert not any(plotting._overlap(place, other) for other in taken)
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


def test_positive_anchors_colours_the_best_brightest(tmp_path):
    """One anchor of IoU 1 in the middle: viridis' last colour is there; of IoU 0, its first."""
    box = np.float32([[30, 30, 90, 90]])
    for iou, shown, hidden in ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        path = tmp_path / "anchors.png"
        plotting.positive_anchors(path, image(), NO_BOXES, box, box, [iou], [iou])
        left_panel = read(path)[60:600, :550]
        viridis = plotting.matplotlib.colormaps["viridis"]
        # The centre's dot; the box's edge is translucent.
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
        (run_records(range(0, 500, 5)), [{"step": 250, "AP": None, "AP50": 0.5}]),
        ([{"step": 1, "loss": float("nan")}, {"step": 2, "grad_norm": 1.0}], [{"step": 9}]),
    ],
)
def test_learning_curves(tmp_path, records, evaluations):
    path = tmp_path / "curves.png"
    evaluations = json.loads(json.dumps(evaluations))
    plotting.learning_curves(path, records, evaluations, title="run_1 $")
    assert read(path).shape == (1050, 1650, 3)


def test_smoothing_is_a_running_mean():
    axes = Figure().add_subplot()
    records = [{"step": 10 * step, "loss": float(step % 2)} for step in range(80)]
    plotting._plot_smoothed(axes, records, "loss", "total", "black")
    raw, smooth = (line.get_ydata() for line in axes.lines)
    np.testing.assert_array_equal(raw, np.arange(80) % 2)
    # 80 // 40 = 2 records on each side: inside, five records of which two or three are 1.
    np.testing.assert_allclose(smooth[2:-2:2], 2 / 5)
    np.testing.assert_allclose(smooth[3:-2:2], 3 / 5)
    # At the first record three remain: 0, 1, 0.
    assert smooth[0] == pytest.approx(1 / 3)
