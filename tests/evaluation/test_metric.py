import json

import numpy as np

from ioub_jax.evaluation import Report


def test_numbers_are_such_as_json_holds():
    numbers = {"a": np.float32(0.5), "b": 2, "c": None, "d": np.nan, "e": float("inf")}
    report = Report(numbers, "A table.")
    assert report.numbers == {"a": 0.5, "b": 2.0, "c": None, "d": None, "e": None}
    assert json.loads(json.dumps(report.numbers, allow_nan=False)) == report.numbers


def test_details_are_such_as_json_holds():
    details = {"rows": [{"score": np.float64("nan"), "name": "a"}, (1, float("-inf"))], "n": 3}
    report = Report({}, "A table.", details=details)
    assert report.details == {"rows": [{"score": None, "name": "a"}, [1, None]], "n": 3}
    assert json.loads(json.dumps(report.details, allow_nan=False)) == report.details
