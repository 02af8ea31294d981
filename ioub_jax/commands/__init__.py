"""One short main per verb: `ioub VERB` or, in a clone, `python -m experiments.VERB`."""
