"""The values in a pickle, read without unpickling: nothing is imported or called.

A pickle is a program for a stack machine. The module `pickle` runs it, and a program can name any
function and call it. The machine here supports only the instructions that make numbers, text,
lists, tuples and dictionaries. A name is never resolved: the caller of `read` passes a table of its
own functions that defines the result of calling each name. There is no object whose attributes a
pickle could set.
"""

import collections
import dataclasses
import io
import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

# Both are twenty times what a detector with its optimizer needs. They limit the memory and the time
# for a malicious pickle, in which a single byte can become a list of 56 bytes.
MAX_BYTES = 16 * 2**20
MAX_INSTRUCTIONS = 1_000_000


class Refusal(ValueError):
    """A file is not read; the message continues a sentence that begins with the file."""


class UnknownName(Refusal):
    """A pickle names a function or class that the reader does not support.

    Attributes:
      name: the name, such as 'posix.system'.
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
    """A placeholder for an object that was not read.

    Attributes:
      kind: the name of its class, such as 'argparse.Namespace'.
    """

    kind: str


Calls = Mapping[str, Callable[[tuple[Any, ...]], Any] | None]


def damaged(what: str) -> Refusal:
    """The refusal of a file that no program writes like this."""
    return Refusal(f"is damaged or truncated ({what}); get the file again.")


def read(
    stream: io.BytesIO,
    calls: Calls | None = None,
    persistent_id: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle at the stream's position; the stream is then after the pickle.

    Args:
      stream: the stream; callers limit it to MAX_BYTES.
      calls: the names that the pickle may mention. Each maps to a function that takes a tuple of
        arguments, of any types, and returns the result of calling the name; or to None if the name
        may not be called. `collections.OrderedDict` is always supported.
      persistent_id: returns an object that is stored outside the pickle. Its argument is the
        identifier, of any type. None if there are no such objects.

    Returns:
      None, bool, int, float, str, bytes, list, tuple, dict, `collections.OrderedDict`, Name, the
      results of `calls` and `persistent_id`, and containers of these.

    Raises:
      UnknownName: the pickle mentions a name that is not in `calls`.
      Refusal: the stream is not a pickle, is truncated, or uses an unsupported instruction.
    """
    machine = _Machine({"collections.OrderedDict": _ordered_dict, **(calls or {})}, persistent_id)
    try:
        # pickletools decodes even instructions that are refused, and one of them may warn.
        with warnings.catch_warnings(action="ignore"):
            for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
                if count == MAX_INSTRUCTIONS:
                    raise Refusal(
                        "has far more values than a weights file, so it was not read; save the "
                        "state dict alone: torch.save(model.state_dict(), path)."
                    )
                if instruction.name != "STOP":
                    machine.run(instruction.name, argument)
        return machine.pop()
    except Refusal:
        raise
    except (ValueError, IndexError, KeyError) as error:
        # The error's own text is left out, because it may quote any amount of the file.
        raise damaged(f"{type(error).__name__} in its pickle") from None


class _Machine:
    """The stack, the marks on it and the memo."""

    def __init__(self, calls: Calls, persistent_id: Callable[[Any], Any] | None):
        self._calls = calls
        self._persistent_id = persistent_id
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        # Not a list, which would be as long as the largest index in the file.
        self._memo: dict[int, Any] = {}

    def run(self, instruction: str, argument: Any) -> None:
        """Executes one instruction, named as in `pickletools`."""
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
        """Removes and returns the topmost value."""
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
            raise damaged("it sets items of something that is not a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_checked_key(key)] = value

    def push_name(self, text: str) -> None:
        if text not in self._calls:
            raise UnknownName(text)
        self._stack.append(Name(text))

    def push_name_of_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise damaged("a name that is not text")
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
        # The state of an ordered dictionary is its `_metadata`.
        if type(self._stack[-1]) not in (collections.OrderedDict, LeftOut):
            raise damaged("it sets attributes of something that has none")

    def load_persistent(self, _: Any) -> None:
        if self._persistent_id is None:
            raise damaged("a tensor where there is none")
        self._stack.append(self._persistent_id(self.pop()))


def _ordered_dict(arguments: tuple[Any, ...]) -> collections.OrderedDict[Any, Any]:
    """Returns an ordered dictionary, empty or from `[key, value]` lists as in Python 2."""
    pairs = arguments[0] if arguments else []
    if (
        len(arguments) > 1
        or type(pairs) is not list
        or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs)
    ):
        raise damaged("an ordered dictionary of something else")
    return collections.OrderedDict((_checked_key(key), value) for key, value in pairs)


def _checked_key(key: Any) -> Any:
    """Returns the key; its hash can be neither made to collide nor slow, as with nested tuples."""
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
    # pickletools separates module and name by a space.
    "GLOBAL": lambda machine, argument: machine.push_name(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": _Machine.push_name_of_stack,
    "REDUCE": _Machine.call,
    # The constructor of a class, treated like a call of its name.
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.discard_state,
    "BINPERSID": _Machine.load_persistent,
}
