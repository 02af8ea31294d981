import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import postprocess, trained
from ioub_jax.data.checks import DataError
from ioub_jax.diagnostics import of_runs
from ioub_jax.from_config import data_parts, loading_parts, training_parts
from ioub_jax.objective import histograms
from tests import tiny
from tests.evaluation.small_data import data_set


def test_the_best_iou_of_every_box_is_with_what_was_found_of_its_class():
    targets = jnp.array([[[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10]]] * 2, jnp.float32)
    labels = jnp.array([[0, 1, 2]] * 2)
    found = postprocess.Candidates(
        # The second box fits best but does not count; the third is of another class.
        boxes=jnp.array(
            [[[0, 0, 10, 8], [0, 0, 10, 10], [20, 0, 30, 9], [0, 0, 10, 5]]] * 2, float
        ),
        scores=jnp.full((2, 4), 0.5),
        labels=jnp.array([[0, 0, 0, 0], [0, 0, 1, 2]]),
        valid=jnp.array([[True, False, True, True]] * 2),
    )
    ious = jax.jit(of_runs.best_ious)(targets, labels, found)
    np.testing.assert_allclose(ious, [[0.8, 0, 0], [0.8, 0.9, 0.5]], rtol=1e-6)


@pytest.fixture(scope="module")
def untrained():
    """A detector with its first parameters: some boxes overlap, and all have a score above 0."""
    with jax.numpy_dtype_promotion("standard"):
        config = tiny.get_config()
        source = data_parts.create_source(config.data, "val")
        placed = training_parts.detector_of(config, len(source.classes))
        return trained.Trained(
            placed=placed,
            variables=placed.init_variables(np.int32(0)),
            source=source,
            loading=loading_parts.loading_of(config),
            metrics=training_parts.metrics_of(config),
            batch_size=config.evaluation.batch_size,
        )


def test_a_search_finds_what_an_evaluation_finds(untrained):
    ground_truth, results, lost = of_runs.search_source(untrained)
    assert results == untrained.evaluate().results
    # Twelve images in batches of eight: what fills the second one does not count.
    assert lost.objects == len(ground_truth["annotations"]) > 0
    assert 0 < lost.kept_iou <= lost.candidate_iou
    assert all(
        kept <= before for kept, before in zip(lost.kept_recall, lost.candidate_recall, strict=True)
    )


def test_the_records_of_a_run_are_part_of_its_diagnosis(untrained, tmp_path, monkeypatch):
    found = of_runs.search_source(untrained)
    monkeypatch.setattr(of_runs, "search_source", lambda _: found)
    assert "histograms" not in of_runs.diagnose_workdir(tmp_path, untrained)
    record = {"step": 1} | {name: [3] for name in histograms.RANGES}
    lines = [json.dumps(record), '{"step": 2}']  # one of an objective that has none
    (tmp_path / "histograms.jsonl").write_text("\n".join(lines))
    report = of_runs.diagnose_workdir(tmp_path, untrained)
    assert report.keys() >= {"metrics", "suppression", "histograms"}
    assert report["histograms"]["records"] == [record]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"image_id": 7}], "found.json: .*image_id 7, which the ground truth does not list"),
        ([3], "found.json: the detections must be a list of objects, but number 1 is a int"),
    ],
)
def test_detections_of_something_else_are_refused(tmp_path, content, sentence):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=sentence):
        of_runs.diagnose_file(path, tmp_path / "truth.json", data_set([]))
