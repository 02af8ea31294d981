"""Rules for the values of keys: type and range, and their descriptions in words."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule for a value.

    Attributes:
      kind: the type that a configuration holds.
      is_kind: tells whether a value is of the type.
      kind_words: the type in words.
      is_allowed: tells whether a value of the type is allowed.
      words: the range in words; empty if every value of the type is allowed.
      optional: whether None is allowed, too.
    """

    kind: type
    is_kind: Callable[[Any], bool]
    kind_words: str
    is_allowed: Callable[[Any], bool] = lambda value: True
    words: str = ""
    optional: bool = False

    def __str__(self) -> str:
        """The whole rule in words: 'a whole number, at least 1, or None'."""
        parts = [self.kind_words, self.words, "or None" if self.optional else ""]
        return ", ".join(part for part in parts if part)

    def fault(self, value: Any) -> str | None:
        """The requirement that a value violates, in words; None if the value is allowed."""
        if value is None and self.optional:
            return None
        if not self.is_kind(value):
            return str(self)
        return None if self.is_allowed(value) else self.words


def or_none(rule: Rule) -> Rule:
    """The same rule, but None is allowed, too."""
    return dataclasses.replace(rule, optional=True)


# ------------------------------------------------------------------ single values


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def whole(at_least: int) -> Rule:
    """A whole number not below a minimum."""
    return Rule(
        int, _is_whole, "a whole number", lambda value: value >= at_least, f"at least {at_least}"
    )


def number() -> Rule:
    """Any number."""
    return Rule(float, _is_number, "a number")


def at_least(low: float) -> Rule:
    """A number not below a minimum."""
    return Rule(float, _is_number, "a number", lambda value: value >= low, f"at least {low:g}")


def above(low: float) -> Rule:
    """A number above another."""
    return Rule(float, _is_number, "a number", lambda value: value > low, f"above {low:g}")


def between(is_allowed: Callable[[float], bool], words: str) -> Rule:
    """A number in a range, which `words` describes."""
    return Rule(float, _is_number, "a number", is_allowed, words)


def probability() -> Rule:
    """A number from 0 to 1."""
    return between(lambda value: 0 <= value <= 1, "a probability, 0 to 1")


def flag() -> Rule:
    """True or False."""
    return Rule(bool, lambda value: isinstance(value, bool), "True or False")


def text() -> Rule:
    """Any text."""
    return Rule(str, _is_text, "a text")


def one_of(*choices: str) -> Rule:
    """One of several words."""
    return Rule(str, lambda value: value in choices, _listed(choices))


def one_whole_of(*choices: int) -> Rule:
    """One of several whole numbers."""
    return Rule(int, lambda value: value in choices, _listed(choices))


def _listed(choices: tuple[Any, ...]) -> str:
    return f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else str(choices[0])


# ------------------------------------------------------------------ tuples


def _is_tuple_of(is_member: Callable[[Any], bool]) -> Callable[[Any], bool]:
    # A configuration that was read from JSON has lists instead of tuples.
    return lambda value: isinstance(value, tuple | list) and all(map(is_member, value))


_are_numbers = _is_tuple_of(_is_number)


def _is_size(value: Any) -> bool:
    """True if a value is a height and a width in pixels."""
    return _is_tuple_of(_is_whole)(value) and len(value) == 2 and min(value) > 0


def names() -> Rule:
    """A tuple of names."""
    return Rule(tuple, _is_tuple_of(_is_text), "names, such as ('bolt', 'nut')")


def one_or_several(example: str) -> Rule:
    """A text, or a tuple of several texts as in the example."""
    are_texts = _is_tuple_of(_is_text)
    return Rule(
        object,
        lambda value: _is_text(value) or (are_texts(value) and len(value) > 0),
        f"a text, or several, such as {example}",
    )


def class_weights() -> Rule:
    """Weights of classes: numbers, or the name of a formula."""

    def is_named(value: Any) -> bool:
        if not _is_text(value):
            return False
        name, _, written = value.rpartition("=")
        try:
            return bool(name) and 0 < float(written) < math.inf
        except ValueError:
            return False

    def are_weights(value: Any) -> bool:
        if _is_text(value):
            return value == "effective_number" or is_named(value)
        if not isinstance(value, tuple | list):
            return False
        return all(map(is_named, value)) or (_are_numbers(value) and all(w > 0 for w in value))

    words = (
        "'effective_number', a number above 0 for each class, such as (1.0, 2.0), or name=number, "
        "such as ('scratch=2.0', 'dent=0.5')"
    )
    return Rule(object, are_weights, words)


def numbers(is_allowed: Callable[[Any], bool], words: str) -> Rule:
    """A tuple of numbers; `words` describes the whole rule."""
    return Rule(tuple, lambda value: _are_numbers(value) and is_allowed(value), words)


def numbers_above(low: float, count: int, words: str) -> Rule:
    """A tuple of `count` numbers above `low`."""
    return numbers(lambda value: len(value) == count and min(value) > low, words)


def two_shares() -> Rule:
    """Two numbers of at least 0 and below 1."""
    return numbers(
        lambda value: len(value) == 2 and all(0 <= one < 1 for one in value),
        "two numbers of at least 0 and below 1, such as (0.9, 0.999)",
    )


def interval() -> Rule:
    """The ends of an interval within 0 and 1."""
    return numbers(
        lambda value: len(value) == 2 and 0 <= value[0] < value[1] <= 1,
        "two numbers from 0 to 1, the lower first, such as (0.0, 0.95)",
    )


def size() -> Rule:
    """The height and the width of an image."""
    return Rule(tuple, _is_size, "a height and a width in pixels, such as (128, 128)")


def canvases() -> Rule:
    """The heights and widths of one or more images."""
    return Rule(
        tuple,
        lambda value: _is_tuple_of(_is_size)(value) and len(value) > 0,
        "heights and widths in pixels, such as ((800, 1344), (1344, 800))",
    )


def ratios_of_levels() -> Rule:
    """The ratios of the boxes for each level of an SSD."""

    def are_ratios(value: Any) -> bool:
        return _are_numbers(value) and all(ratio > 0 for ratio in value)

    return Rule(
        tuple,
        _is_tuple_of(are_ratios),
        "numbers above 0 for each level, such as ((2.0,), (2.0, 3.0))",
    )


def intervals_of_levels() -> Rule:
    """A range of sizes in pixels for each level."""

    def is_range(value: Any) -> bool:
        return _are_numbers(value) and len(value) == 2 and 0 <= value[0] < value[1]

    return Rule(
        tuple,
        _is_tuple_of(is_range),
        "two numbers of at least 0 for each level, the lower first, such as ((0, 64), (64, 1e8))",
    )


def metrics() -> Rule:
    """The metrics of an evaluation."""

    def are_metrics(value: Any) -> bool:
        known = _is_tuple_of(lambda name: name in ("coco", "voc", "lvis"))(value)
        return known and len(value) > 0 and len(set(value)) == len(value)

    words = "'coco', 'voc', 'lvis' or several, the one whose AP picks the best checkpoint first"
    return Rule(tuple, are_metrics, words)
