import numpy as np
import pytest

from ioub_jax.evaluation import evaluate_detections, resampling


def box(image, category, x, *, score=None, **more):
    entry = {"image_id": image, "category_id": category, "bbox": [x, 0.0, 10.0, 10.0], **more}
    return entry if score is None else entry | {"score": score}


def random_data(seed=0, images=12):
    """Objects of two classes, and detections that are shifted, doubled, missing or wrong."""
    generator = np.random.default_rng(seed)
    annotations, detections = [], []
    for image in range(1, images + 1):
        for place in range(generator.integers(0, 4)):
            category, x = int(generator.integers(1, 3)), 30.0 * place
            annotations.append(box(image, category, x, iscrowd=int(generator.random() < 0.1)))
            for _ in range(generator.integers(0, 3)):
                shift, score = float(generator.uniform(0, 4)), float(generator.random())
                detections.append(box(image, category, x + shift, score=score))
        detections.append(box(image, 1, 200.0, score=float(generator.random())))
    ground_truth = {
        "images": [{"id": image} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    return ground_truth, detections


@pytest.mark.parametrize("seed", range(3))
def test_every_image_once_gives_the_metrics_of_pycocotools(seed, monkeypatch):
    ground_truth, detections = random_data(seed)

    class EveryImageOnce:
        def multinomial(self, count, shares):
            return np.ones(count, np.int64)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: EveryImageOnce())
    resampled = resampling.resampled_ap(ground_truth, detections, resamplings=1)
    expected = evaluate_detections(ground_truth, detections).summary
    for key in resampling.AP_KEYS:
        assert resampled[key][0] == pytest.approx(expected[key], abs=1e-12)


def test_what_counts_more_detections_has_names_of_its_own():
    # Of 150 objects 100 are found at most: 67 of the 101 recalls are reached; counting 150, all.
    ground_truth = {
        "images": [{"id": 1}],
        "annotations": [box(1, 1, 20.0 * place) for place in range(150)],
        "categories": [{"id": 1, "name": "a"}],
    }
    detections = [box(1, 1, 20.0 * place, score=0.5) for place in range(150)]
    for counted, key, expected in ((100, "AP", 67 / 101), (150, "AP@150", 1.0)):
        values = resampling.resampled_ap(ground_truth, detections, resamplings=1, counted=counted)
        assert values[key] == pytest.approx([expected])
        assert len(values) == len(resampling.AP_KEYS)


def test_an_image_drawn_twice_counts_twice(monkeypatch):
    # Image 1: found by the detection of score .5. Image 2: missed, with a false one of score .9.
    ground_truth = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [box(1, 1, 0.0), box(2, 1, 0.0)],
        "categories": [{"id": 1, "name": "a"}],
    }
    detections = [box(1, 1, 0.0, score=0.5), box(2, 1, 50.0, score=0.9)]

    class Draws:
        draws = iter([(1, 1), (2, 0), (0, 2)])

        def multinomial(self, count, shares):
            return np.array(next(self.draws))

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Draws())
    values = resampling.resampled_ap(ground_truth, detections, resamplings=3)["AP"]
    # As they are: recall 1/2 at precision 1/2, so 51 of the 101 points have 1/2. Image 1 alone:
    # everything is found. Image 2 alone: nothing.
    assert values == pytest.approx([51 / 101 / 2, 1.0, 0.0])


def test_resamplings_are_paired_by_seed_and_images():
    ground_truth, detections = random_data()
    first = resampling.resampled_ap(ground_truth, detections, resamplings=5)
    assert first == resampling.resampled_ap(ground_truth, detections, resamplings=5)
    assert len(set(first["AP"])) > 1
    nothing = resampling.resampled_ap(ground_truth, [], resamplings=5)
    assert nothing["AP"] == [0.0] * 5


def test_without_any_object_there_is_no_ap():
    ground_truth = random_data()[0] | {"annotations": []}
    values = resampling.resampled_ap(ground_truth, [], resamplings=2)
    assert values["AP75"] == [None, None]


def test_a_resampled_data_set_is_one_with_copies_of_its_images():
    ground_truth, detections = random_data(seed=4, images=10)
    draw = resampling.draw_images(10, 1, seed=5)[0]
    copied, found = ground_truth | {"images": [], "annotations": []}, []
    for image, count in enumerate(draw.tolist(), start=1):
        for copy in range(count):
            there = {"image_id": 100 * copy + image}
            copied["images"].append({"id": there["image_id"]})
            copied["annotations"] += [
                row | there for row in ground_truth["annotations"] if row["image_id"] == image
            ]
            found += [row | there for row in detections if row["image_id"] == image]
    assert draw.max() > 1
    resampled = resampling.resampled_ap(ground_truth, detections, resamplings=1, seed=5)
    expected = evaluate_detections(copied, found).summary
    for key in resampling.AP_KEYS:
        assert resampled[key][0] == pytest.approx(expected[key], abs=1e-12)


def test_an_interval_takes_two_numbers():
    # Of 0, 1, ... 100 the percentiles 2.5 and 97.5; what does not exist is left out.
    assert resampling.interval_of([None, *range(101)]) == pytest.approx((2.5, 97.5))
    assert resampling.interval_of([0.5, None]) is None
