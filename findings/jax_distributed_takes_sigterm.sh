#!/usr/bin/env bash
# Expected: a handler that a program has installed for SIGTERM is called when the signal arrives, to save in time.
# Actual: it is not called after jax.distributed.initialize (jax 0.10.2, one process): the runtime of jax has replaced
# it outside of Python, and signal.getsignal still returns the old handler. SIGINT is unaffected, and a handler
# installed afterwards is called.
# Why it matters: the checkpoint that a test on one machine wrote is not written on many machines. SIGTERM does not end
# the process, either, so the scheduler kills it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/signals.py" <<'PYTHON'
import os
import signal
import socket
import time

import jax

calls = []


def sent(number):
    """Returns the handlers that are called for a signal that this process sends to itself."""
    calls.clear()
    os.kill(os.getpid(), number)
    time.sleep(0.5)
    return list(calls)


def before(number, frame):
    calls.append("handler set before")


def after(number, frame):
    calls.append("handler set after")


signal.signal(signal.SIGTERM, before)
signal.signal(signal.SIGINT, before)
found = [sent(signal.SIGTERM)]
with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
jax.distributed.initialize(f"localhost:{port}", num_processes=1, process_id=0)
found += [sent(signal.SIGTERM), sent(signal.SIGINT)]
is_named = signal.getsignal(signal.SIGTERM) is before
signal.signal(signal.SIGTERM, after)
found.append(sent(signal.SIGTERM))
print("jax", jax.__version__)
print(f"  SIGTERM before jax.distributed.initialize: {found[0]}")
print(f"  SIGTERM after it: {found[1]}; getsignal names the handler: {is_named}")
print(f"  SIGINT after it: {found[2]}")
print(f"  SIGTERM once a handler is set again: {found[3]}")
jax.distributed.shutdown()
told = [["handler set before"], [], ["handler set before"], ["handler set after"]]
assert found == told and is_named, "the behavior has changed"
PYTHON

python3 -m venv "$folder/environment"
"$folder/environment/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore \
  "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/environment/bin/python" "$folder/signals.py" 2>"$folder/errors" ||
  { cat "$folder/errors" >&2; exit 1; }
