"""Variants of a test: a few for every day, all of them in the slow tests."""

import pytest


def one_of_a_kind(variants, *every_day):
    """All variants, of which those that are not named are slow: they run the code of the others."""
    return [
        pytest.param(variant, marks=() if variant in every_day else pytest.mark.slow)
        for variant in variants
    ]
