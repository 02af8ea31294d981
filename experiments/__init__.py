"""`python -m experiments.VERB` in a clone: `ioub VERB`, and benchmarks of the project itself."""

import sys

import ioub_jax.commands
from ioub_jax.commands import machine

# The verbs lie in the package, so that those who install it have them too.
__path__ += ioub_jax.commands.__path__

# What a command needs is imported before anything of its own runs, and takes memory.
sys.excepthook = machine.show_uncaught
machine.tell_of_limit()
