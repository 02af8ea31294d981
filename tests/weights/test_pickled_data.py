import ast
import collections
import io
import pathlib
import pickle
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.fuzz.torch_bytes import Raw, build, call, name, push, whole
from ioub_jax import weights
from ioub_jax.weights import pickled_data
from ioub_jax.weights.pickled_data import LeftOut, Name, Refusal, UnknownName

CALLS = {"a.b": lambda arguments: ("called", arguments), "a.data": None}


def read(pickled):
    return pickled_data.read(io.BytesIO(pickled), CALLS, lambda identifier: ("found", identifier))


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(-100, 100), inner)
    ),
)


@given(plain_values, st.integers(2, 5))
def test_reads_plain_values_as_pickle_does(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


def test_leaves_the_stream_behind_the_pickle():
    stream = io.BytesIO(whole(1) + b"more")
    assert pickled_data.read(stream) == 1
    assert stream.read() == b"more"


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_ordered_dictionary_loses_its_attributes(protocol):
    value = collections.OrderedDict(x=1, y=[2])
    value._metadata = {"": {"version": 1}}
    result = read(pickle.dumps(value, protocol))
    assert type(result) is collections.OrderedDict
    assert result == value
    assert not hasattr(result, "_metadata")


def test_reads_the_ordered_dictionaries_of_python_2():
    text = Raw(b"U\x01x")  # a str of Python 2
    assert read(whole(call("collections.OrderedDict", [[text, 1], ["y", 2]]))) == {"x": 1, "y": 2}


def test_names_stay_names_and_calls_are_those_of_the_table():
    assert read(whole(name("a.b"))) == Name("a.b")
    assert read(whole(call("a.b", 1, "x"))) == ("called", (1, "x"))
    assert read(whole(Raw(push("a") + push("b") + b"\x93"))) == Name("a.b")
    assert read(whole(Raw(push(("id", 3)) + b"Q"))) == ("found", ("id", 3))
    # The constructor of a class, as an instance of it is saved.
    assert read(whole(Raw(name("a.b") + b")\x81"))) == ("called", ())


@pytest.mark.parametrize(
    "pickled",
    [
        name("posix.system"),
        name("a.data.__class__"),
        Raw(b"ca.b c\nd\n"),
        Raw(push("posix") + push("system") + b"\x93"),
        Raw(push("builtins") + push("eval") + b"\x93"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_done_with_them(pickled):
    with pytest.raises(UnknownName, match="asks for"):
        read(whole(pickled))


@pytest.mark.parametrize(
    ("instruction", "pickled"),
    [
        ("INST", b"(iposix\nsystem\n"),
        ("OBJ", b"(" + name("a.b") + b"o"),
        ("EXT1", b"\x82\x01"),
        ("EXT2", b"\x83\x01\x00"),
        ("EXT4", b"\x84\x01\x00\x00\x00"),
        ("NEWOBJ_EX", name("a.b") + b")}\x92"),
        ("PERSID", b"P0\n"),
        ("GET", b"g0\n"),
        ("STRING", b"S'x'\n"),
        ("STRING", b"S'\\z'\n"),  # makes Python warn of the escape
        ("LONG4", b"\x8b\x01\x00\x00\x00\x01"),
        ("BINUNICODE8", b"\x8d" + bytes([1, 0, 0, 0, 0, 0, 0, 0]) + b"x"),
        ("NEXT_BUFFER", b"\x97"),
        ("DUP", b"N2"),
        ("POP", b"NN0"),
    ],
)
def test_instructions_that_no_weights_need_are_refused(instruction, pickled):
    with pytest.raises(Refusal, match=f"uses the pickle instruction {instruction},"):
        read(whole(Raw(pickled)))


@pytest.mark.parametrize(
    ("complaint", "pickled"),
    [
        ("it calls something that has no name", push(3) + push(()) + b"R"),
        ("it calls something that has no name", name("a.b") + push([]) + b"R"),
        ("it calls 'a.data'", name("a.data") + push(()) + b"R"),
        ("it calls 'a.data'", name("a.data") + push(()) + b"\x81"),
        ("sets attributes", build(name("a.b"), {"__code__": 1})),
        ("sets attributes", build({}, {"x": 1})),
        ("sets attributes", build(call("a.b"), (None, {"__class__": 1}))),
        ("appends to something", push({}) + b"Na"),
        ("appends to something", push(()) + b"(NNe"),
        ("appends to something", name("a.b") + b"(NNe"),
        ("items of something", push([]) + b"K\x00Ns"),
        ("items of something", name("a.b") + push("__doc__") + b"Ns"),
        ("items of something", call("a.b") + b"(" + push("x") + b"Nu"),
        ("ValueError", push({}) + b"(" + push("x") + b"u"),  # a key without a value
        ("a name that is not text", push("a") + push(1) + b"\x93"),
        ("ordered dictionary", call("collections.OrderedDict", call("a.b"))),
        ("ordered dictionary", call("collections.OrderedDict", [["x", 1, 2]])),
        ("ordered dictionary", call("collections.OrderedDict", ["xy"])),
        ("ordered dictionary", call("collections.OrderedDict", [], [])),
        ("IndexError", b"R"),
        ("IndexError", b"e"),
        ("IndexError", b"q\x00"),
        ("KeyError", b"h\x07"),
    ],
)
def test_misuse_of_an_instruction_is_refused(complaint, pickled):
    with pytest.raises(Refusal, match="is damaged or truncated") as error:
        read(whole(Raw(pickled)))
    assert complaint in str(error.value)


def test_a_pickle_without_persistent_objects_has_none():
    with pytest.raises(Refusal, match="a tensor where there is none"):
        pickled_data.read(io.BytesIO(whole(Raw(push("0") + b"Q"))))


def test_every_cut_is_refused():
    pickled = whole({"x": [1, (2.5, "text")], "y": call("collections.OrderedDict")})
    pickled = pickled[:-1]
    for length in range(len(pickled)):
        with pytest.raises(Refusal, match="is damaged or truncated"):
            read(pickled[:length])


def test_a_stated_state_of_something_left_out_is_dropped():
    calls = {"argparse.Namespace": lambda _: LeftOut("argparse.Namespace")}
    pickled = whole(build(Raw(name("argparse.Namespace") + b")\x81"), {"lr": 0}))
    assert pickled_data.read(io.BytesIO(pickled), calls) == LeftOut("argparse.Namespace")


def bounded(pickled):
    """Reads within a second and 100 MB."""
    tracemalloc.start()
    start = time.process_time()
    try:
        read(pickled)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100e6
        assert time.process_time() - start < 10


def test_nesting_needs_no_recursion():
    bounded(whole(Raw(b"]" * 50_000 + b"a" * 49_999)))


def test_a_large_memo_index_takes_no_memory():
    bounded(whole(Raw(b"Nr\xff\xff\xff\xff")))


def test_a_stated_length_takes_no_memory():
    with pytest.raises(Refusal, match="truncated"):
        bounded(whole(Raw(b"B\xff\xff\xff\xffx")))


def test_tuples_that_double_are_no_keys():
    # Each is a pair of the one before: its hash would visit 2**60 of them.
    doubled = b")" + b"q\x00h\x00\x86" * 60
    bounded(whole(Raw(doubled)))
    with pytest.raises(Refusal, match="a key of type tuple"):
        bounded(whole(Raw(b"}" + doubled + b"Ns")))


def test_floats_and_large_integers_are_no_keys():
    with pytest.raises(Refusal, match="a key of type float"):
        read(pickle.dumps({0.5: 1}, 2))
    with pytest.raises(Refusal, match="a key of type int"):
        read(pickle.dumps({2**31: 1}, 2))


def test_the_number_of_instructions_is_limited(monkeypatch):
    monkeypatch.setattr(pickled_data, "MAX_INSTRUCTIONS", 100)
    read(whole(Raw(b"]" * 98)))  # with the protocol and the stop these are 100
    with pytest.raises(Refusal, match="has far more values"):
        read(whole(Raw(b"]" * 99)))


def test_nothing_in_the_package_can_unpickle():
    for path in pathlib.Path(weights.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not imported & {"pickle", "_pickle", "copyreg", "shelve", "torch", "joblib", "dill"}
        assert not called & {"eval", "exec", "__import__", "getattr", "setattr"}
