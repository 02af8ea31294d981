#!/usr/bin/env bash
# Expected: if a flag is given twice, the last value wins, and a tuple given as `a,b` has two items.
# Actual: in ml_collections 1.1.0 a tuple field given twice receives the items of both, whereas a number takes the last
# value. `--config.sizes=5,6` is (5, 6), but `--config.names=cat,dog` is the single string ('cat,dog',), and an empty
# value is one empty string. A field (1, 2) accepts (1.5, 2): the types of the items are not checked.
# Why it matters: a launcher that appends a user's override to its own flags trains at both image sizes or with both
# lists of classes. A class named "cat,dog" occurs in no data set.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/tuples.py" <<'PYTHON'
import importlib.metadata
import sys

import ml_collections
from absl import flags
from ml_collections import config_flags

DEFAULTS = {"steps": 1, "sizes": (1, 2), "names": ("a",)}


def parsed(arguments):
    """Returns the fields of the configuration that the arguments change."""
    sys.argv = ["program", *arguments]
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", ml_collections.ConfigDict(DEFAULTS), flag_values=values)
    values(sys.argv)
    return {name: value for name, value in values.config.items() if value != DEFAULTS[name]}


TOLD = {
    ("--config.steps=5", "--config.steps=6"): {"steps": 6},
    ("--config.sizes=5", "--config.sizes=6"): {"sizes": (5, 6)},
    ("--config.sizes=(5,6)", "--config.sizes=(7,)"): {"sizes": (5, 6, 7)},
    ("--config.sizes=5,6",): {"sizes": (5, 6)},
    ("--config.sizes=(1.5,2)",): {"sizes": (1.5, 2)},
    ("--config.names=cat,dog",): {"names": ("cat,dog",)},
    ("--config.names=('cat','dog')",): {"names": ("cat", "dog")},
    ("--config.names=",): {"names": ("",)},
}
print(f"ml_collections {importlib.metadata.version('ml-collections')}: by default {DEFAULTS}")
found = {arguments: parsed(arguments) for arguments in TOLD}
for arguments, fields in found.items():
    print(f"  {' '.join(arguments)}: {fields}")
assert found == TOLD, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "absl-py==2.5.1" "ml-collections==1.1.0"
"$folder/environment/bin/python" "$folder/tuples.py"
