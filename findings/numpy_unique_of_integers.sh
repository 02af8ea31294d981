#!/usr/bin/env bash
# Expected: np.unique costs as much as sorting, since it is documented to return the sorted unique values.
# Actual: from numpy 2.3 on, integers go through a hash table. For 860,001 different integers (the number of boxes in
# COCO), np.unique of 2.4.6 takes more than ten times as long as np.sort and a comparison of neighbors, which return the
# same. 2.2.6 is not slower, nor are floats, nor calls with return_index or return_counts.
# Why it matters: the images that contain each class are counted from the distinct pairs of image and class, hundreds of
# thousands of different integers, at every start of a training. Sorting and comparing neighbors avoids it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/unique.py" <<'PYTHON'
import time

import numpy as np

COUNT = 860_001


def seconds(function, values):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function(values)
        times.append(time.perf_counter() - start)
    return min(times)


def by_sorting(values):
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])]


random = np.random.default_rng(0)
integers = random.permutation(COUNT) * 80
print(f"numpy {np.__version__}, {COUNT} different values, minimum of three times")
ratios = {}
for name, values in (("float64", integers.astype(np.float64)), ("int64", integers)):
    assert np.array_equal(np.unique(values), by_sorting(values))
    unique, sort = seconds(np.unique, values), seconds(by_sorting, values)
    ratios[name] = unique / sort
    print(f"  {name}: np.unique {unique:.3f} s, sorted {sort:.3f} s, {ratios[name]:.1f} times")
for option in ("return_index", "return_counts"):
    counted = seconds(lambda values, option=option: np.unique(values, **{option: True}), integers)
    print(f"  int64 with {option}: {counted:.3f} s, {counted / sort:.1f} times")
    assert counted < 10 * sort, "the behavior has changed"
is_slow = ratios["int64"] > 10
assert is_slow == {"2.2.6": False, "2.4.6": True}[np.__version__], "the behavior has changed"
assert ratios["float64"] < 10, "the behavior has changed"
PYTHON

for version in 2.2.6 2.4.6; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
    "numpy==$version"
  "$folder/$version/bin/python" "$folder/unique.py"
done
