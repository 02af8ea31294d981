"""Pictures of diagnostics: of any report, without a warning, with every run in its color."""

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ioub_jax import plotting
from ioub_jax.diagnostics import gradient_norm
from ioub_jax.diagnostics.of_detections import diagnose, diagnosis_to_json
from ioub_jax.objective import histograms
from ioub_jax.plotting import positives
from ioub_jax.plotting.drawing import RUN_COLORS
from tests.evaluation.small_data import annotation, data_set, detection


def run_of(shift, found=120):
    """A run whose detections are off by up to `shift` pixels, and the better the surer."""
    truth = data_set(
        [annotation(1, [60 * k, 0, 40, 40], category_id=1 + k % 2) for k in range(found)],
        categories=("cell", "$血_"),
    )
    offsets = np.linspace(0, shift, found)
    detections = [
        detection(1, [60 * k + off, 0, 40, 40], 0.9 - off / 60, category_id=1 + k % 2)
        for k, off in enumerate(offsets.tolist())
    ]
    run = diagnosis_to_json(diagnose(truth, detections))
    thresholds = np.arange(50, 100) / 100
    run["suppression"] = {
        "kept_iou": 0.6, "lost_iou": 0.2, "thresholds": thresholds.tolist(),
        "candidate_recall": (1 - thresholds / 2).tolist(),
        "kept_recall": (1 - thresholds).tolist(),
        "bins": [{"lower": 0.5, "upper": 0.55, "objects": 30, "lost": 0.1},
                 {"lower": 0.55, "upper": 0.6, "objects": 0, "lost": None}],
    }  # fmt: skip
    counts = dict.fromkeys(histograms.RANGES, [0] * 19 + [7])
    run["histograms"] = {
        "ranges": histograms.RANGES,
        "records": [{"step": step, **counts} for step in (10, 20, 30)],
    }
    return run


def draw(folder, runs):
    report = {"runs": runs, "gradient_norm": gradient_norm.gradient_norms(21)}
    names = plotting.diagnostics(folder, report)
    assert sorted(names) == sorted(path.name for path in folder.glob("*"))
    return {name: matplotlib.image.imread(folder / name)[..., :3] for name in names}


def count(pixels, color):
    return int((np.abs(pixels - np.array(to_rgb(color))) < 0.01).all(axis=-1).sum())


@pytest.mark.slow
def test_every_run_is_in_every_picture_in_its_color(tmp_path):
    pictures = draw(tmp_path, {"baseline": run_of(20), "both": run_of(5)})
    assert pictures.keys() == {
        "score_against_iou.png", "correlation_by_class.png", "iou_bins.png", "suppression.png",
        "positives.png", "lrp.png", "precision_recall.png", "calibration.png", "gradient_norm.png",
    }  # fmt: skip
    for name in pictures.keys() - {"positives.png", "gradient_norm.png"}:
        assert count(pictures[name], RUN_COLORS[0]) > 100, name
        assert count(pictures[name], RUN_COLORS[1]) > 100, name
        assert count(pictures[name], RUN_COLORS[2]) == 0, name


def test_a_file_without_detections_is_drawn(tmp_path):
    truth = data_set([annotation(1, [0, 0, 10, 10])])
    pictures = draw(tmp_path, {"_nothing $": diagnosis_to_json(diagnose(truth, []))})
    # Of NMS and of training nothing is known.
    assert pictures.keys().isdisjoint({"suppression.png", "positives.png"})


def test_a_heat_map_has_shares_of_the_positives_and_their_mean():
    axes = Figure().add_subplot()
    # Four bins of 0 to 1. Two of three positives in the second; then none; then one in the last.
    records = [
        {"step": step, "key": counts}
        for step, counts in ((5, [1, 2, 0, 0]), (10, [0, 0, 0, 0]), (15, [0, 0, 0, 1]))
    ]
    mapped = positives._draw_heat_map(axes, records, "key", 0.0, 1.0)
    shares = mapped.get_array().T
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 0, 0], [0] * 4, [0, 0, 0, 1]])
    # Means of bins' middles: (1 * .125 + 2 * .375) / 3, nothing, .875.
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.875 / 3, np.nan, 0.875])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [2.5, 7.5, 12.5])
