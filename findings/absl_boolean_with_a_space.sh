#!/usr/bin/env bash
# Expected: `--use_bfloat16 false` sets a boolean flag to false, just as `--steps 100` sets a number, or is refused.
# Actual: absl-py 2.5.1 reads the flag alone as true and leaves the word "false" among the positional arguments, which
# most programs never look at. The fields of an ml_collections configuration (`--config.use_bfloat16 false`) behave the
# same. `=false`, `=0` and `--nouse_bfloat16` do set the flag to false.
# Why it matters: an ablation runs with the feature that it claims to leave out. A shell script that separates every
# flag from its value by a space works for all types except booleans.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/flags.py" <<'PYTHON'
import importlib.metadata
import sys

import ml_collections
from absl import flags
from ml_collections import config_flags


def parsed(*arguments):
    """Returns the flag, the field of the configuration and the positional arguments."""
    sys.argv = ["program", *arguments]
    values = flags.FlagValues()
    flags.DEFINE_boolean("use_bfloat16", True, "", flag_values=values)
    flags.DEFINE_integer("steps", 1, "", flag_values=values)
    config = ml_collections.ConfigDict({"use_bfloat16": True})
    config_flags.DEFINE_config_dict("config", config, flag_values=values)
    rest = values(sys.argv)[1:]
    assert values.steps == (100 if "100" in arguments else 1), "the behavior has changed"
    return values.use_bfloat16, values.config.use_bfloat16, rest


versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("absl-py", "ml-collections"))
print(f"{versions}: both are True by default")
TOLD = {
    ("--use_bfloat16", "false"): (True, True, ["false"]),
    ("--use_bfloat16=false",): (False, True, []),
    ("--use_bfloat16=0",): (False, True, []),
    ("--nouse_bfloat16",): (False, True, []),
    ("--config.use_bfloat16", "false"): (True, True, ["false"]),
    ("--config.use_bfloat16=false",): (True, False, []),
    ("--steps", "100"): (True, True, []),
}
found = {arguments: parsed(*arguments) for arguments in TOLD}
for arguments, (flag, field, rest) in found.items():
    print(f"  {' '.join(arguments)}: flag {flag}, field {field}, positional {rest}")
assert found == TOLD, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "absl-py==2.5.1" "ml-collections==1.1.0"
"$folder/environment/bin/python" "$folder/flags.py"
