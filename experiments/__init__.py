"""`python -m experiments.VERB` in a clone: `ioub VERB`, and benchmarks of the project itself."""

import ioub_jax.commands
from ioub_jax.commands import machine

# The verbs are part of the package, so that an installation has them, too.
__path__ += ioub_jax.commands.__path__

machine.prepare()
