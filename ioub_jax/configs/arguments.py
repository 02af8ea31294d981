"""The words after the colon of `--config=configs/FILE.py:r50,both`."""

from collections.abc import Iterable


def parse(argument: str, *lists: Iterable[str], usual: str = "") -> list[str]:
    """Chooses one word of each list: the word in the argument, or else the usual one.

    Args:
      argument: words in any order, separated by commas; empty for the usual words.
      *lists: lists of words to choose from, which have no words in common.
      usual: the usual words of some lists, in the format of `argument`; the first word of each
        other list is usual.

    Raises:
      ValueError: a word is in no list, or two words are from the same list.
    """
    words = [word.strip() for word in argument.split(",") if word.strip()]
    choices = [list(words_of_list) for words_of_list in lists]
    defaults = parse(usual, *choices) if usual else [choice[0] for choice in choices]
    known = [word for choice in choices for word in choice]
    for word in words:
        if word not in known:
            raise ValueError(f"Unknown word {word!r} in {argument!r}; it must be one of {known}.")
    chosen = []
    for choice, default in zip(choices, defaults, strict=True):
        given = [word for word in words if word in choice]
        if len(given) > 1:
            raise ValueError(f"{argument!r} has {' and '.join(given)}; give one of {choice}.")
        chosen.append(given[0] if given else default)
    return chosen
