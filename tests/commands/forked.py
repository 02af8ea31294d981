"""Runs commands in forks of one process that has imported what takes seconds.

Each command defines flags of its own, so no two of them fit into one process.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings

from tests import tiny


class Commands:
    """The process that forks, and what asks it to."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.commands import forked; forked.serve()"],
            cwd=tiny.ROOT,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "1", "XLA_FLAGS": ""},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, verb, *arguments, before=""):
        """Runs `before`, and then the command; gives its exit code and what it printed."""
        asked = {"verb": verb, "arguments": [str(argument) for argument in arguments]}
        self._process.stdin.write(json.dumps(asked | {"before": before}) + "\n")
        self._process.stdin.flush()
        return tuple(json.loads(self._process.stdout.readline()))

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve():
    import ioub_jax.commands.preview
    import ioub_jax.export.programs
    import ioub_jax.plotting
    import ioub_jax.studies.planned_runs
    from ioub_jax.commands import command_line

    del ioub_jax, command_line
    # jax has threads once it computes, which this process never does.
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as output:
            child = os.fork()
            if child == 0:
                _become(output.fileno(), **json.loads(line))
            _, status = os.waitpid(child, 0)
            output.seek(0)
            print(json.dumps([os.waitstatus_to_exitcode(status), output.read()]), flush=True)


def _become(output, verb, arguments, before):
    code = 0
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [verb, *arguments]
    try:
        exec(before, {})
        runpy.run_module(f"experiments.{verb}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
    finally:
        os._exit(code or 0)
