#!/usr/bin/env bash
# One expects: `--use_bfloat16 false` switches a boolean flag off, as `--steps 100` sets a number, or is an error.
# What happens: absl-py 2.5.1 takes the flag alone for "true" and leaves the word "false" among the positional
# arguments, which most programs never look at. Fields of an ml_collections configuration (`--config.use_bfloat16 false`)
# do the same. `=false`, `=0` and `--nouse_bfloat16` switch it off.
# Why it matters: an ablation "without" is run "with", and its name in the table says otherwise; a shell script that
# writes all flags with spaces is right for every type but this one.
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
    """The flag, the field of the configuration and the positional arguments."""
    sys.argv = ["program", *arguments]
    values = flags.FlagValues()
    flags.DEFINE_boolean("use_bfloat16", True, "", flag_values=values)
    flags.DEFINE_integer("steps", 1, "", flag_values=values)
    config = ml_collections.ConfigDict({"use_bfloat16": True})
    config_flags.DEFINE_config_dict("config", config, flag_values=values)
    rest = values(sys.argv)[1:]
    return values.use_bfloat16, values.config.use_bfloat16, rest


versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("absl-py", "ml-collections"))
print(f"{versions}: both are True by default")
TOLD = {
    ("--use_bfloat16", "false"): (True, True, ["false"]),
    ("--use_bfloat16=false",): (False, True, []),
    ("--nouse_bfloat16",): (False, True, []),
    ("--config.use_bfloat16", "false"): (True, True, ["false"]),
    ("--config.use_bfloat16=false",): (True, False, []),
    ("--steps", "100"): (True, True, []),
}
found = {arguments: parsed(*arguments) for arguments in TOLD}
for arguments, (flag, field, rest) in found.items():
    print(f"  {' '.join(arguments)}: flag {flag}, field {field}, positional {rest}")
assert found == TOLD, "it behaves otherwise than told above"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
  "absl-py==2.5.1" "ml-collections==1.1.0" 2>/dev/null
"$folder/environment/bin/python" "$folder/flags.py"
