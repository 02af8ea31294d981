"""One short main a verb: `ioub VERB` or, in a clone, `python -m experiments.VERB`."""
