"""Random changes to a valid file: of bytes in any file, of values in JSON, of words in texts."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from experiments.fuzz.cases import Files

_TEXT_SUFFIXES = (".json", ".xml", ".yaml", ".txt", ".names", ".data")
#: Values that a program may have written, or that a reader may not expect.
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 2**31, -(2**31) - 1, 2**53 + 1, 2**63, 2**64, -(2**70),
    10**400, 0.0, -0.0, 0.5, 1e-320, 1e38, 1e300, -1e300, float("nan"), float("inf"),
    -float("inf"), "", " ", "1", "-0", "1.0", "1e999", "nan", "None", "a\0b", "\ud800", "x" * 5000,
    "\x1b[31m", "../../etc", "/", ".", "a/b.png", "C:\\a.png", "https://example.org/a.png",
    [], {}, [[]], [None], [0], [1, 2], [1, 2, 3, 4], [0.5] * 5, [[1, 2], [3]], {"id": 1},
    {"size": [32, 40], "counts": "abc"}, {"size": [0, 0], "counts": []},
    {"size": [2**20, 2**20], "counts": [2**40]},
)  # fmt: skip
_WORDS = (
    b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e400", b"1e-400", b"99999999999999999999999",
    b"0x10", b"1_000", b"1,5", b"\xd9\xa3", b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n",
    b"\r\n", b"\t", b"<", b">", b"&", b"&amp;", b"&#0;", b"<!--", b"]]>", b"<object/>", b"<bndbox>",
    b"<name></name>", b"'", b'"', b"{", b"}", b"[", b"]", b"((", b"))", b",", b":", b"- ", b"#",
    b"!!python/tuple", b"*a", b"&a [*a]", b"~", b"null", b"None", b"yes", b"2026-01-01", b"=",
    b"..", b"%", b"\xf0\x9f\x90\x88", b"(1,)", b"1/3",
)  # fmt: skip
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(files: Files, rng: random.Random, others: Sequence[Files]) -> Files:
    """The files with one to four changes.

    Args:
      files: the files to change; they are not modified in place.
      rng: the random numbers that determine the changes.
      others: files of the same format, from which parts may be copied.
    """
    changed = dict(files)
    for _ in range(rng.choice((1, 1, 2, 4))):
        name = _choose_file(changed, rng)
        if rng.random() < 0.03:
            _move(changed, name, rng)
            continue
        content = changed[name]
        if name.endswith(".json") and rng.random() < 0.75:
            changed[name] = _mutate_json(content, rng)
        elif name.endswith(_TEXT_SUFFIXES) and rng.random() < 0.75:
            changed[name] = _mutate_text(content, rng)
        else:
            changed[name] = _mutate_bytes(content, rng, rng.choice(others))
    return changed


def _choose_file(files: Files, rng: random.Random) -> str:
    """Returns a file; images of a data set are chosen rarely, since all formats share them."""
    texts = [name for name in sorted(files) if name.endswith(_TEXT_SUFFIXES)]
    return rng.choice(texts if texts and rng.random() < 0.85 else sorted(files))


def _move(files: Files, name: str, rng: random.Random) -> None:
    """Removes, duplicates or renames a file; at least one file is left."""
    folder, _, last = name.rpartition("/")
    elsewhere = rng.choice((last.upper(), f"x/{last}", f"{last}.txt", f"{folder}/x{last}", "x.png"))
    if elsewhere.strip("/") not in files:
        files[elsewhere.strip("/")] = files[name]
    if len(files) > 1 and rng.random() < 0.7:
        del files[name]


# ------------------------------------------------------------------ JSON


def _mutate_json(content: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _mutate_text(content, rng)
    holder = {"": value}
    for _ in range(rng.choice((1, 1, 1, 3))):
        places = list(_places(holder))
        inside, key = rng.choice(places)
        rng.choice((_replace, _replace, _remove, _exchange, _double))(inside, key, rng, places)
        if "" not in holder:
            holder[""] = {}
    return json.dumps(holder[""], ensure_ascii=rng.random() < 0.5).encode(errors="replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Returns every list and object, at any depth, with each of its positions or keys."""
    found, waiting = [], [value]
    while waiting:
        inside = waiting.pop()
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        for key in keys:
            found.append((inside, key))
            if isinstance(inside[key], dict | list):
                waiting.append(inside[key])
    return found


def _replace(inside: Any, key: Any, rng: random.Random, _: Any) -> None:
    inside[key] = copy.deepcopy(rng.choice(_VALUES))


def _remove(inside: Any, key: Any, rng: random.Random, _: Any) -> None:
    del inside[key]


def _exchange(inside: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    """Inserts a copy of another value; a reference could make a value contain itself."""
    other, its_key = rng.choice(places)
    inside[key] = copy.deepcopy(other[its_key])


def _double(inside: Any, key: Any, rng: random.Random, _: Any) -> None:
    value = copy.deepcopy(inside[key])
    if isinstance(inside, list):
        inside.insert(key, value)
    else:
        inside[rng.choice((f"{key}s", f"{key} ", key.upper(), "attributes", "bbox", "id"))] = value


# ------------------------------------------------------------------ texts and bytes


def _mutate_text(content: bytes, rng: random.Random) -> bytes:
    change: Callable[[bytes, random.Random], bytes]
    change = rng.choice((_other_word, _other_word, _insert_word, _lines, _other_encoding))
    return change(content, rng)


def _other_word(content: bytes, rng: random.Random) -> bytes:
    """Replaces a word between spaces, brackets, quotes or other signs."""
    bounds = [
        i for i, byte in enumerate(content) if not (48 <= byte <= 57 or byte in b".-" or byte > 64)
    ]
    if len(bounds) < 2:
        return _insert_word(content, rng)
    index = rng.randrange(len(bounds) - 1)
    start, stop = bounds[index] + 1, bounds[index + 1]
    return content[:start] + rng.choice(_WORDS) + content[stop:]


def _insert_word(content: bytes, rng: random.Random) -> bytes:
    place = rng.randint(0, len(content))
    return content[:place] + rng.choice(_WORDS) * rng.choice((1, 1, 2, 40)) + content[place:]


def _lines(content: bytes, rng: random.Random) -> bytes:
    """Duplicates, removes or shuffles lines, or parts that end with a bracket."""
    separator = b"\n" if content.count(b"\n") > 1 else b">"
    parts = content.split(separator)
    index = rng.randrange(len(parts))
    change = rng.randrange(3)
    if change == 0:
        parts.insert(index, parts[rng.randrange(len(parts))])
    elif change == 1:
        del parts[index]
    else:
        rng.shuffle(parts)
    return separator.join(parts)


def _other_encoding(content: bytes, rng: random.Random) -> bytes:
    text = content.decode(errors="replace")
    encoding = rng.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32", "utf-16-be"))
    return text.encode(encoding, errors="replace")


def _mutate_bytes(content: bytes, rng: random.Random, other: Files) -> bytes:
    if not content:
        return rng.randbytes(rng.randint(0, 64))
    place = rng.randrange(len(content))
    change = rng.randrange(6)
    if change == 0:
        return content[:place]
    if change == 1:
        return (
            content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        )
    if change == 2:  # a length, a size, an offset
        width = rng.choice((1, 2, 4))
        number = rng.choice(_NUMBERS) & (256**width - 1)
        order = rng.choice(("little", "big"))
        early = rng.randrange(min(len(content), 64)) if rng.random() < 0.6 else place
        return content[:early] + number.to_bytes(width, order) + content[early + width :]
    if change == 3:
        end = min(len(content), place + rng.randint(1, 64))
        return content[:place] + content[end:]
    if change == 4:
        end = min(len(content), place + rng.randint(1, 64))
        return content[:end] + content[place:end] + content[end:]
    donor = rng.choice(sorted(other.items()))[1] or b"\0"
    return content[:place] + donor[rng.randrange(len(donor)) :]
