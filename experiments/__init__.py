"""One short main a verb: `python -m experiments.VERB`."""
