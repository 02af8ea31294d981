#!/usr/bin/env bash
# One expects: np.unique costs what sorting costs, as its documentation says that it gives sorted unique values; a
# version later it is faster if anything.
# What happens: from numpy 2.3 on integers go through a hash table. In 2.4.6, of 860,001 different ones (the boxes
# of COCO), it takes more than ten times as long as np.sort and a comparison of neighbours, which give the same;
# 2.2.6 does not, and floats do not either. With return_index or return_counts nothing is lost.
# Why it matters here: counting the classes and images of a data set is np.unique of such numbers, and seconds of
# every start of a training. The package sorts and compares neighbours where there may be many.
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
print(f"numpy {np.__version__}, {COUNT} different values, least of three times")
ratios = {}
for name, values in (("int64", integers), ("float64", integers.astype(np.float64))):
    assert np.array_equal(np.unique(values), by_sorting(values))
    unique, sort = seconds(np.unique, values), seconds(by_sorting, values)
    ratios[name] = unique / sort
    print(f"  {name}: np.unique {unique:.3f} s, sorted {sort:.3f} s, {ratios[name]:.1f} times")
counted = seconds(lambda values: np.unique(values, return_counts=True), integers)
print(f"  int64 with return_counts: {counted:.3f} s")
is_slow = ratios["int64"] > 10
assert is_slow == {"2.2.6": False, "2.4.6": True}[np.__version__], "otherwise than told above"
assert ratios["float64"] < 10, "otherwise than told above"
PYTHON

for version in 2.2.6 2.4.6; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check \
    "numpy==$version" 2>/dev/null
  "$folder/$version/bin/python" "$folder/unique.py"
done
