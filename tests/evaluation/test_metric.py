import json

import numpy as np

from ioub_jax.evaluation import Report


def test_numbers_are_such_as_json_holds():
    numbers = {"a": np.float32(0.5), "b": 2, "c": None, "d": np.nan, "e": float("inf")}
    report = Report(numbers, "A table.")
    assert report.numbers == {"a": 0.5, "b": 2.0, "c": None, "d": None, "e": None}
    assert json.loads(json.dumps(report.numbers, allow_nan=False)) == report.numbers
