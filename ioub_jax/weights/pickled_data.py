"""The values in a pickle, read without unpickling: nothing is imported or called.

A pickle is a program for a stack machine. `pickle` runs it, and a program may name any function and
have it called. The machine here knows only the instructions that make numbers, text, lists, tuples
and dictionaries. A name stays a name, and what calling it means is given by the caller of `read`,
in a table of functions of ours. There is no object whose attributes a pickle could set.
"""

import collections
import dataclasses
import io
import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

# Both are twenty times what a detector with its optimizer needs. They bound the memory and the time
# that a hostile pickle takes: one byte of it may become a list of 56 bytes.
MAX_BYTES = 16 * 2**20
MAX_INSTRUCTIONS = 1_000_000


class Refusal(ValueError):
    """A refusal to read a file; the message continues a sentence that begins with the file."""


class UnknownName(Refusal):
    """A pickle that asks for a function or class that the reader has no use for.

    Attributes:
      name: such as 'posix.system'.
    """

    def __init__(self, name: str):
        super().__init__(f"asks for {name!r}")
        self.name = name


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of a class or function, which is never looked up."""

    text: str


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A placeholder for an object of which only the kind is kept.

    Attributes:
      kind: the name of its class, such as 'argparse.Namespace'.
    """

    kind: str


Calls = Mapping[str, Callable[[tuple[Any, ...]], Any] | None]


def damaged(what: str) -> Refusal:
    """The refusal of a file that no program writes in this way."""
    return Refusal(f"is damaged or truncated ({what}); get the file again.")


def read(
    stream: io.BytesIO,
    calls: Calls | None = None,
    persistent_id: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle at the stream's position; leaves the stream behind the pickle.

    Args:
      stream: at most the first MAX_BYTES of it are worth giving.
      calls: the names that the pickle may mention, each with what calling it with a tuple of
        arguments gives, or with None where it may not be called. The arguments may be anything.
        `collections.OrderedDict` is always known.
      persistent_id: what an object kept outside the pickle is, from its identifier, which may be
        anything; None where there are no such objects.

    Returns:
      None, bool, int, float, str, bytes, list, tuple, dict, `collections.OrderedDict`, Name, what
      `calls` and `persistent_id` return, and containers of these.

    Raises:
      UnknownName: it mentions a name that `calls` lacks.
      Refusal: it is no pickle, is cut short, or uses an instruction not known here.
    """
    machine = _Machine({"collections.OrderedDict": _ordered_dict, **(calls or {})}, persistent_id)
    try:
        # pickletools decodes even instructions that are refused, and one of them may warn.
        with warnings.catch_warnings(action="ignore"):
            for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
                if count == MAX_INSTRUCTIONS:
                    raise Refusal("has far more values than a weights file; not read.")
                if instruction.name != "STOP":
                    machine.run(instruction.name, argument)
        return machine.pop()
    except Refusal:
        raise
    except (ValueError, IndexError, KeyError) as error:
        # Not the error's own text: it may quote any amount of the file.
        raise damaged(f"{type(error).__name__} in its pickle") from None


class _Machine:
    """The stack, the marks on it and the memo."""

    def __init__(self, calls: Calls, persistent_id: Callable[[Any], Any] | None):
        self._calls = calls
        self._persistent_id = persistent_id
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        # A dictionary: a list would be as long as the largest index in the file.
        self._memo: dict[int, Any] = {}

    def run(self, instruction: str, argument: Any) -> None:
        """Carries out one instruction, named as in `pickletools`."""
        if instruction in _LITERALS:
            self._stack.append(argument)
        elif instruction in _CONSTANTS:
            self._stack.append(_CONSTANTS[instruction])
        elif instruction in _INSTRUCTIONS:
            _INSTRUCTIONS[instruction](self, argument)
        else:
            raise Refusal(
                f"uses the pickle instruction {instruction}, which no weights file needs, so it "
                "was not read. Save the state dict alone: torch.save(model.state_dict(), path)."
            )

    def pop(self) -> Any:
        """Takes the topmost value."""
        return self._stack.pop()

    def mark(self, _: Any) -> None:
        self._below_marks.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below_marks.pop()
        return values

    def memoize(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def recall(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def make_list(self, _: Any) -> None:
        self._stack.append([])

    def make_dict(self, _: Any) -> None:
        self._stack.append({})

    def make_tuple(self, values: list[Any]) -> None:
        self._stack.append(tuple(values))

    def append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise damaged("it appends to something that is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, collections.OrderedDict):
            raise damaged("it sets items of something that is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_checked_key(key)] = value

    def push_name(self, text: str) -> None:
        if text not in self._calls:
            raise UnknownName(text)
        self._stack.append(Name(text))

    def push_name_of_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise damaged("a name that is no text")
        self.push_name(f"{module}.{name}")

    def call(self, _: Any) -> None:
        arguments, name = self.pop(), self.pop()
        if type(name) is not Name or type(arguments) is not tuple:
            raise damaged("it calls something that has no name")
        function = self._calls[name.text]
        if function is None:
            raise damaged(f"it calls {name.text!r}")
        self._stack.append(function(arguments))

    def discard_state(self, _: Any) -> None:
        self.pop()
        # An ordered dictionary has its `_metadata` as state.
        if type(self._stack[-1]) not in (collections.OrderedDict, LeftOut):
            raise damaged("it sets attributes of something that has none")

    def load_persistent(self, _: Any) -> None:
        if self._persistent_id is None:
            raise damaged("a tensor where there is none")
        self._stack.append(self._persistent_id(self.pop()))


def _ordered_dict(arguments: tuple[Any, ...]) -> collections.OrderedDict[Any, Any]:
    """An empty one, or in pickles of Python 2 one of a list of `[key, value]`."""
    pairs = arguments[0] if arguments else []
    if (
        len(arguments) > 1
        or type(pairs) is not list
        or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs)
    ):
        raise damaged("an ordered dictionary of something else")
    return collections.OrderedDict((_checked_key(key), value) for key, value in pairs)


def _checked_key(key: Any) -> Any:
    """A key whose hash nobody can make collide or take for ever, as nested tuples do."""
    if type(key) in (str, bytes, bool) or (type(key) is int and abs(key) < 2**31):
        return key
    raise Refusal(
        f"has a dictionary with a key of type {type(key).__name__}, so it was not read. Save the "
        "state dict alone: torch.save(model.state_dict(), path)."
    )


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = (
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINSTRING",
    "SHORT_BINSTRING",
)
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.memoize,
    "LONG_BINPUT": _Machine.memoize,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "EMPTY_LIST": _Machine.make_list,
    "EMPTY_DICT": _Machine.make_dict,
    "TUPLE": lambda machine, _: machine.make_tuple(machine.pop_to_mark()),
    "TUPLE1": lambda machine, _: machine.make_tuple([machine.pop()]),
    "TUPLE2": lambda machine, _: machine.make_tuple([machine.pop() for _ in range(2)][::-1]),
    "TUPLE3": lambda machine, _: machine.make_tuple([machine.pop() for _ in range(3)][::-1]),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop() for _ in range(2)][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    # pickletools gives module and name with a blank between.
    "GLOBAL": lambda machine, argument: machine.push_name(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": _Machine.push_name_of_stack,
    "REDUCE": _Machine.call,
    # The constructor of a class; here calling its name.
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.discard_state,
    "BINPERSID": _Machine.load_persistent,
}
