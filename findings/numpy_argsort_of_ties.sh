#!/usr/bin/env bash
# Expected: np.argsort(-scores) keeps the order of equal scores in short arrays (up to 16, where numpy has always used
# insertion sort), and at least returns the same order on every machine.
# Actual: on x86, numpy 2.4.6 has separate code for AVX2 and for AVX-512. The order of ties already changes among 8
# rounded float32 scores; AVX-512, AVX2 and neither return three different orders of 1,000 scores.
# Why it matters: the scores of quantized and bfloat16 detectors have many ties. NMS and AP that use this sort differ
# between a laptop and a server. kind="stable" returns the same order everywhere.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/ties.py" <<'PYTHON'
import hashlib
import sys

import numpy as np

random = np.random.default_rng(0)
report = []
for count in (8, 16, 1000):
    scores = np.round(random.random(count), 1).astype(np.float32)
    order, stable = np.argsort(-scores), np.argsort(-scores, kind="stable")
    assert np.array_equal(scores[order], scores[stable])
    moved = int((order != stable).sum())
    names = [hashlib.sha1(each.astype(np.int64).tobytes()).hexdigest()[:8] for each in (order, stable)]
    report.append((count, moved, *names))
    told = f"{count} scores, {moved} in a different place than with kind='stable', order {names[0]}"
    print(f"  {sys.argv[1]}: {told}", file=sys.stderr)
print(report)
PYTHON

cat > "$folder/compare.py" <<'PYTHON'
import ast
import sys

import numpy as np
from numpy._core._multiarray_umath import __cpu_features__ as features

with open(sys.argv[1]) as file:
    reports = [ast.literal_eval(line) for line in file]
assert len({names[3] for names in (report[2] for report in reports)}) == 1, "stable orders differ"
orders = {report[2][2] for report in reports}
has_avx2 = bool(features.get("X86_V3") or features.get("AVX2"))
has_avx512 = bool(features.get("X86_V4") or features.get("AVX512_SKX"))
kinds = 1 + has_avx2 + has_avx512
print(f"numpy {np.__version__}: {len(orders)} orders of the same 1,000 scores")
if kinds == 1:
    raise SystemExit("needs an x86 processor with AVX2")
assert len(orders) == kinds, "the behavior has changed"
assert reports[0][0][1] > 0 and reports[-1][0][1] == 0, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "numpy==2.4.6"
python="$folder/environment/bin/python"
"$python" "$folder/ties.py" "all instruction sets" >> "$folder/reports"
NPY_DISABLE_CPU_FEATURES="X86_V4" "$python" -W ignore "$folder/ties.py" "without AVX-512" >> "$folder/reports"
NPY_DISABLE_CPU_FEATURES="X86_V4 X86_V3" "$python" -W ignore "$folder/ties.py" "without AVX-512 and AVX2" \
  >> "$folder/reports"
"$python" "$folder/compare.py" "$folder/reports"
