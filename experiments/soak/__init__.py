"""A long training run that is killed at random moments, and an uninterrupted one: `make soak`."""
