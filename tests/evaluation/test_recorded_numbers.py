from ioub_jax.evaluation import CocoMetric, VocMetric, recorded_numbers

ONE_BOX = {
    "images": [{"id": 1}],
    "annotations": [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9]}],
    "categories": [{"id": 7, "name": "train"}],
}


def test_numbers_are_told_from_one_another():
    known = {}
    for metric in (CocoMetric("pycocotools"), VocMetric()):
        known |= metric.compute(ONE_BOX, []).numbers
    own = {"F1": 0.5, "voc_mine": None}
    averaged = own | known
    without_ema = {f"without_ema_{key}": 0.1 for key in averaged}
    record = {"step": 12} | averaged | without_ema
    assert recorded_numbers.numbers_in(record) == averaged
    assert list(recorded_numbers.numbers_in(record)) == list(averaged)
    assert recorded_numbers.own_numbers(record) == own
