"""One short main a verb: `python -m experiments.VERB`."""

import sys

from experiments import machine

# What a command needs is imported before anything of its own runs, and takes memory.
sys.excepthook = machine.show_uncaught
machine.tell_of_limit()
