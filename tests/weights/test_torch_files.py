import contextlib
import os
import pathlib
import pickle
import random
import runpy
import struct
import tarfile
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.fuzz.torch_bytes import (
    SIX_FLOATS,
    Raw,
    archive,
    build,
    call,
    name,
    push,
    storage,
    stream,
    tensor,
    whole,
)
from ioub_jax.weights import WeightsError, pickled_data
from ioub_jax.weights.pickled_data import LeftOut, Name
from ioub_jax.weights.torch_files import read_torch_file

FILES = pathlib.Path(__file__).parent / "files"
FORMATS = pytest.mark.parametrize("container", [archive, stream])


@pytest.fixture
def read(tmp_path):
    def read_bytes(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return read_torch_file(path)

    return read_bytes


# --- What torch writes -------------------------------------------------------------------------

COUNT = np.arange(24).reshape(2, 3, 4)
EXPECTED = {
    "float32": COUNT.astype(np.float32),
    "float16": COUNT.astype(np.float16),
    "bfloat16": COUNT.astype(ml_dtypes.bfloat16),
    "float64": COUNT.astype(np.float64),
    "int64": COUNT.astype(np.int64),
    "int32": COUNT.astype(np.int32),
    "int16": COUNT.astype(np.int16),
    "int8": COUNT.astype(np.int8),
    "uint8": COUNT.astype(np.uint8),
    "bool": COUNT > 5,
    "transposed": COUNT.transpose(2, 0, 1).astype(np.float32),
    "sliced": COUNT[:, 1:, ::2].astype(np.float32),
    "expanded": np.broadcast_to(np.arange(3, dtype=np.float32)[:, None], (3, 5)),
    "tied": np.arange(5, dtype=np.float32),
    "tied_again": np.arange(5, dtype=np.float32),
    "part": np.array([2, 3], np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
    "parameter": np.ones((2, 2), np.float32),
}


@pytest.mark.parametrize("kind", ["archive", "stream", "protocol5"])
def test_reads_every_dtype_and_view_that_torch_writes(kind):
    found = read_torch_file(FILES / f"tensors_{kind}.pth")
    assert list(found) == list(EXPECTED)
    for key, expected in EXPECTED.items():
        assert found[key].dtype == expected.dtype, key
        np.testing.assert_array_equal(found[key], expected, strict=True, err_msg=key)
        assert found[key].flags.c_contiguous and found[key].flags.aligned
        assert not found[key].flags.writeable
    assert np.shares_memory(found["tied"], found["tied_again"])


def test_reads_the_checkpoint_of_a_training_script():
    found = read_torch_file(FILES / "checkpoint.pth")
    assert found["epoch"] == 7
    assert found["size"] == (2, 3, 4)
    assert found["args"] == LeftOut("argparse.Namespace")
    assert found["best"].kind.endswith("multiarray.scalar")
    assert found["model"]["module.0.weight"].shape == (2, 3)
    assert found["optimizer"]["state"][0]["momentum_buffer"].shape == (2, 3)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("whole_model", r"holds a whole model \('torch.nn.modules.linear.Linear'\), which was not"),
        ("quantized", "holds a quantized tensor"),
        ("complex", "holds a complex tensor"),
        ("sparse", "holds a sparse tensor"),
        ("meta", "holds a meta tensor"),
        ("negated", "holds a tensor with pending operations"),
    ],
)
def test_what_is_no_plain_tensor_is_refused_by_name(file, sentence):
    with pytest.raises(WeightsError, match=rf"{file}\.pth {sentence}"):
        read_torch_file(FILES / f"{file}.pth")


# --- Both formats, put together by hand ----------------------------------------------------------


@FORMATS
def test_reads_a_tensor(container, read):
    found = read(container({"x": tensor()}))
    # Six floats 0..5, two rows of three.
    np.testing.assert_array_equal(
        found["x"], np.array([[0, 1, 2], [3, 4, 5]], np.float32), strict=True
    )


@FORMATS
def test_reads_views(container, read):
    saved = {
        "column": tensor(None, 1, (2,), (3,)),  # 1, 1 + 3
        "transposed": tensor(None, 0, (3, 2), (1, 3)),
        "repeated": tensor(None, 5, (2, 2), (0, 0)),
        "any stride": tensor(None, 2, (1, 2), (2**40, 1)),
        "nothing": tensor(None, 9, (0, 2**40), (1, 1)),
    }
    found = {key: value.tolist() for key, value in read(container(saved)).items()}
    assert found == {
        "column": [1, 4],
        "transposed": [[0, 3], [1, 4], [2, 5]],
        "repeated": [[5, 5], [5, 5]],
        "any stride": [[2, 3]],
        "nothing": [],
    }


@FORMATS
def test_reads_files_of_torch_0_3_and_python_2(container, read):
    key = Raw(b"U\x06weight")
    numbers = Raw(
        b"("
        + b"".join([b"U\x07storage", name("torch.FloatStorage"), b"U\x010", b"U\x06cuda:0"])
        + push(6)
        + (b"N" if container is stream else b"")
        + b"tQ"
    )
    weight = call("torch._utils._rebuild_tensor", numbers, 0, (6,), (1,))
    found = read(container(build(call("collections.OrderedDict", [[key, weight]]), {})))
    assert found["weight"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_stream_may_show_parts_of_a_storage(read):
    # The view begins with number 2 and has 3: the tensor's first is number 2 + 1.
    view = storage("torch.FloatStorage", "0", "cpu", 6, ("view", 2, 3))
    found = read(stream({"x": tensor(view, 1, (2,), (1,)), "y": tensor()}))
    assert found["x"].tolist() == [3, 4]
    with pytest.raises(WeightsError, match="reaches beyond its numbers"):
        read(stream({"x": tensor(view, 1, (3,), (1,))}))


@pytest.mark.parametrize("padding", range(4))
def test_a_stream_may_have_its_numbers_at_any_place(padding, read):
    found = read(stream({"x": tensor(), "name": "a" * padding}))
    assert found["x"].flags.aligned
    assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("order", ["little", "big"])
def test_an_archive_states_its_byte_order(order, read):
    sign = {"little": "<", "big": ">"}[order]
    saved = {
        "float": tensor(),
        "half": tensor(storage("torch.BFloat16Storage", "1", "cpu", 2), 0, (2,), (1,)),
        "byte": tensor(storage("torch.ByteStorage", "2", "cpu", 2), 0, (2,), (1,)),
    }
    # bfloat16 is the upper half of float32: 1.0 is 3f80, -2.0 is c000.
    numbers = {
        "0": struct.pack(f"{sign}6f", *range(6)),
        "1": struct.pack(f"{sign}2H", 0x3F80, 0xC000),
        "2": b"\x01\x02",
    }
    found = read(archive(saved, numbers, byteorder=order))
    assert found["float"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["half"].dtype == ml_dtypes.bfloat16
    assert found["half"].tolist() == [1, -2]
    assert found["byte"].tolist() == [1, 2]
    with pytest.raises(WeightsError, match="byte order is neither little nor big"):
        read(archive(saved, numbers, byteorder="middle"))


def test_the_folder_in_an_archive_may_have_any_name(read):
    assert read(archive({"x": 1}, top="resnet 18.v2")) == {"x": 1}


def test_a_type_is_a_name(read):
    assert read(archive({"dtype": name("torch.float32")})) == {"dtype": Name("torch.float32")}


# --- Hostile pickles ---------------------------------------------------------------------------


class Reduces:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def write_to(trace):
    return f"open({str(trace)!r}, 'w').close()"


def script_that_writes_to(trace):
    script = trace.with_name("script.py")
    script.write_text(write_to(trace))
    return str(script)


def system_by_getattr(trace):
    system = call("__builtin__.getattr", call("__builtin__.__import__", "os"), "system")
    return whole(Raw(system + push((f"touch {trace}",)) + b"R"))


# What each asks for first -> a pickle that makes the file `trace` when it is loaded.
PAYLOADS = {
    "posix.system": lambda trace: pickle.dumps(Reduces(os.system, f"touch {trace}"), 2),
    "__builtin__.eval": lambda trace: pickle.dumps({"x": Reduces(eval, write_to(trace))}, 2),
    "__builtin__.exec": lambda trace: pickle.dumps([Reduces(exec, write_to(trace))], 2),
    "builtins.exec": lambda trace: pickle.dumps([Reduces(exec, write_to(trace))], 4),
    "__builtin__.getattr": system_by_getattr,
    "runpy.run_path": lambda trace: pickle.dumps(
        Reduces(runpy.run_path, script_that_writes_to(trace)), 2
    ),
    "pickle.loads": lambda trace: pickle.dumps(
        Reduces(pickle.loads, pickle.dumps(Reduces(os.system, f"touch {trace}"))), 2
    ),
    "io.open": lambda trace: whole(
        call("collections.OrderedDict", [["x", 1], ["y", call("io.open", str(trace), "w")]])
    ),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the open file of io.open
@pytest.mark.parametrize("asked", PAYLOADS)
def test_no_payload_runs(asked, read, tmp_path):
    trace = tmp_path / "trace"
    payload = PAYLOADS[asked](trace)
    for container in (archive, stream):
        with pytest.raises(
            WeightsError, match=rf"weights\.pth asks for '{asked}', which is not"
        ) as e:
            read(container(payload))
        assert not trace.exists()
        assert "Save the state dict alone: torch.save(model.state_dict(), path)." in str(e.value)
    with pytest.raises(WeightsError):
        read(payload)
    assert not trace.exists()
    # It does run where a pickle is unpickled.
    pickle.loads(payload)
    assert trace.exists()


@FORMATS
@pytest.mark.parametrize(
    "asked",
    [
        "torch.storage._load_from_bytes",
        "torch.load",
        "torch.hub.load",
        "torch.jit.load",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.load",
        "collections.defaultdict",
        "collections.UserDict",
        "copyreg._reconstructor",
        "functools.partial",
        "operator.attrgetter",
        "torch._utils._rebuild_tensor_v2.__globals__.__getitem__",
        "torch._tensor._rebuild_from_type_v2",
        "torch.FloatStorage._new_shared_filename",
        "ioub_jax.weights.pickled_data.read",
    ],
)
def test_other_functions_are_unknown(container, asked, read):
    with pytest.raises(WeightsError, match=rf"asks for '{asked}', which is not a tensor"):
        read(container({"x": call(asked, "x")}))


@FORMATS
def test_a_class_of_torch_is_a_whole_model(container, read):
    with pytest.raises(
        WeightsError, match=r"holds a whole model .'torch\.nn\.modules\.linear\.Linear'"
    ):
        read(container(Raw(name("torch.nn.modules.linear.Linear") + b")\x81")))


@FORMATS
@pytest.mark.parametrize(
    "pickled",
    [
        b"\x82\x01",  # EXT1
        b"(iposix\nsystem\n",  # INST
        b"(" + name("torch.Size") + b"o",  # OBJ
    ],
)
def test_other_instructions_are_refused(container, pickled, read):
    with pytest.raises(WeightsError, match="uses the pickle instruction"):
        read(container(Raw(pickled)))


@FORMATS
def test_no_attribute_is_set(container, read):
    rebuild = name("torch._utils._rebuild_tensor_v2")
    for target in (rebuild, tensor(), storage(), name("torch.FloatStorage")):
        for state in ({"__code__": 1}, (None, {"__defaults__": 1})):
            with pytest.raises(WeightsError, match="it sets attributes"):
                read(container(build(target, state)))


IMPOSSIBLE = "a tensor of no possible shape"
BEYOND = "a tensor that reaches beyond its numbers"


@FORMATS
@pytest.mark.parametrize(
    ("complaint", "arguments"),
    [
        (BEYOND, (0, (7,), (1,))),  # of six numbers
        (BEYOND, (1, (2, 3), (3, 1))),
        (BEYOND, (6, (), ())),
        (BEYOND, (0, (2,), (6,))),
        (BEYOND, (0, (2,), (2**62,))),
        (BEYOND, (2**64, (1,), (1,))),
        (BEYOND, (2**64 - 4, (1,), (1,))),
        (BEYOND, (0, (2, 2), (2**63, 2**63))),
        (BEYOND, (0, (2**40,), (1,))),
        ("too large for any memory", (0, (2**31, 2**31), (0, 0))),
        ("too large for any memory", (0, (2**2000, 1), (0, 0))),
        ("too large for any memory", (0, (0, 2**70), (0, 0))),
        (IMPOSSIBLE, (-1, (2,), (1,))),
        (IMPOSSIBLE, (5, (2,), (-1,))),
        (IMPOSSIBLE, (0, (-2, -3), (3, 1))),
        (IMPOSSIBLE, (0, (2, 3), (3,))),
        (IMPOSSIBLE, (0, [2, 3], (3, 1))),
        (IMPOSSIBLE, (0, (2.0, 3.0), (3, 1))),
        (IMPOSSIBLE, (0, ("2",), (1,))),
        (IMPOSSIBLE, (True, (1,), (1,))),
        (IMPOSSIBLE, (None, (1,), (1,))),
        (IMPOSSIBLE, (0, (1,) * 33, (1,) * 33)),
        (IMPOSSIBLE, (tensor(), (1,), (1,))),
        (IMPOSSIBLE, (0, tensor(), (1,))),
    ],
)
def test_a_tensor_must_lie_within_its_numbers(container, complaint, arguments, read):
    with pytest.raises(WeightsError, match="is damaged or truncated") as error:
        read(container({"x": tensor(None, *arguments)}))
    assert complaint in str(error.value)


@FORMATS
def test_other_arguments_of_a_tensor_are_refused(container, read):
    rebuild = "torch._utils._rebuild_tensor_v2"
    for arguments in ((), (storage(),), (tensor(), 0, (1,), (1,)), (1, 0, (1,), (1,)), (0,) * 9):
        with pytest.raises(WeightsError, match="a tensor without numbers"):
            read(container({"x": call(rebuild, *arguments), "y": tensor()}))
    for metadata in ({"conj": True}, [], tensor(), 0):
        with pytest.raises(WeightsError, match="pending operations"):
            read(container({"x": tensor(None, 0, (1,), (1,), metadata)}))
    assert read(container({"x": tensor(None, 0, (), (), {})}))["x"] == 0


@FORMATS
def test_a_repeated_number_takes_no_memory(container, read):
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="many times as large as the file"):
            read(container({"x": tensor(None, 0, (2**25,), (0,))}))  # 128 MB
        # Each of these is within the bounds, but not all together: 16 MB.
        with pytest.raises(WeightsError, match="many times as large as the file"):
            read(container({str(i): tensor(None, 0, (2**22,), (0,)) for i in range(9)}))
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@FORMATS
@pytest.mark.parametrize(
    "numbers",
    [
        storage(count=-6),
        storage(count=2**70),
        storage(count=6.0),
        storage(count=7),
        storage(count=5),
        storage(kind="torch.DoubleStorage"),
        storage(kind="torch.Size"),
        storage(key=0),
        storage(key="../../secret"),
        storage("torch.FloatStorage", "0", None, 6),
        storage("torch.FloatStorage", "0", "cpu", 6, ("view", 1, 6)),
        storage("torch.FloatStorage", "0", "cpu", 6, ("view", -1, 6)),
        storage("torch.FloatStorage", "0", "cpu", 6, ("view", 1)),
        storage("torch.FloatStorage", "0", "cpu", 6, [1, 2, 3]),
        storage("torch.FloatStorage", "0", "cpu", 6, None, None),
        Raw(push("storage") + b"Q"),
        Raw(push(("module", name("torch.Size"), "file", "source", 0)) + b"Q"),
        Raw(push(("storage", "torch.FloatStorage", "0", "cpu", 6)) + b"Q"),
        Raw(push((tensor(), name("torch.FloatStorage"), "0", "cpu", 6)) + b"Q"),
    ],
)
def test_other_storages_are_refused(container, numbers, read):
    with pytest.raises(WeightsError, match="is damaged or truncated"):
        read(container({"x": tensor(numbers)}))


def test_a_storage_on_the_meta_device_has_no_numbers(read):
    with pytest.raises(WeightsError, match="holds a meta tensor"):
        read(archive({"x": tensor(storage(device="meta"))}))


def test_a_tensor_lies_within_the_bytes_of_any_type(read):
    # Two types of one storage: six floats are 24 bytes.
    as_bytes = storage("torch.ByteStorage", "0", "cpu", 24)
    found = read(archive({"x": tensor(), "bytes": tensor(as_bytes, 20, (4,), (1,))}))
    assert found["bytes"].tobytes() == SIX_FLOATS[20:]
    with pytest.raises(WeightsError, match="a storage of two kinds"):
        read(stream({"x": tensor(), "bytes": tensor(as_bytes)}))


# --- Damaged and foreign files -------------------------------------------------------------------


def test_a_compressed_archive_is_refused(read):
    bomb = archive({"x": tensor()}, {"0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    with pytest.raises(WeightsError, match="is a compressed or encrypted zip archive"):
        read(bomb)


def test_a_member_beyond_the_file_is_refused(read):
    content = bytearray(archive({"x": tensor()}))
    directory = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    size = slice(directory + 20, directory + 28)  # of the second member, compressed and not
    assert content[size] == struct.pack("<II", 24, 24)
    content[size] = struct.pack("<II", 24, 2**31)
    with pytest.raises(WeightsError, match="is damaged"):
        read(content)
    content[size] = struct.pack("<II", 2**31, 2**31)
    with pytest.raises(WeightsError, match="is damaged"):
        read(content)


def test_an_archive_must_be_one_of_torch(read):
    with pytest.raises(WeightsError, match="it lacks its member 'archive/data/1'"):
        read(archive({"x": tensor(storage(key="1"))}))
    with pytest.raises(WeightsError, match="is a TorchScript archive; load it"):
        read(archive({}, **{"constants.pkl": b""}))
    with pytest.raises(WeightsError, match="is a zip archive that torch"):
        read(archive({}, top="a/b"))


def test_a_pickle_of_many_megabytes_is_refused(read, monkeypatch):
    monkeypatch.setattr(pickled_data, "MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="holds far more than tensors"):
        read(archive({"x": "a" * 1000}))
    with pytest.raises(WeightsError, match="is damaged or truncated"):
        read(stream({"x": "a" * 1000}))


@pytest.mark.parametrize(
    ("sentence", "content"),
    [
        ("is empty", b""),
        ("is not a file that torch.save wrote", b"\x89HDF\r\n"),
        ("is a pickle that torch.save did not write", pickle.dumps({"x": 1}, 2)),
        ("is a pickle that torch.save did not write", stream({}, magic=17)),
        ("is of an unknown version", stream({}, protocol=1002)),
        ("its list of storages differs", stream({"x": tensor()}, {})),
        ("its list of storages differs", stream({}, {"0": SIX_FLOATS})),
        ("a storage has another size", stream({"x": tensor()}, {"0": SIX_FLOATS[:8]})),
    ],
)
def test_foreign_files_are_refused(sentence, content, read):
    with pytest.raises(WeightsError, match=rf"weights\.pth .*{sentence}"):
        read(content)


def test_the_tar_format_is_refused(tmp_path):
    path = tmp_path / "old.pth"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(FILES / "README.md", "storages")
    with pytest.raises(WeightsError, match="is in the tar format of torch"):
        read_torch_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pth cannot be read: No such file"):
        read_torch_file(tmp_path / "absent.pth")


@pytest.mark.parametrize("kind", ["archive", "stream"])
def test_every_cut_is_refused(kind, read):
    content = (FILES / f"tensors_{kind}.pth").read_bytes()
    for length in range(0, len(content), 61):
        with pytest.raises(WeightsError):
            read(content[:length])


@pytest.mark.parametrize("kind", ["archive", "stream", "protocol5"])
def test_damage_gives_nothing_but_the_error(kind, tmp_path_factory):
    content = (FILES / f"tensors_{kind}.pth").read_bytes()
    path = tmp_path_factory.mktemp("damaged") / "weights.pth"

    @settings(deadline=None, max_examples=100)
    @given(st.randoms(use_true_random=False), st.integers(1, 8))
    def change(source: random.Random, changes):
        damaged = bytearray(content)
        for _ in range(changes):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            read_torch_file(path)

    tracemalloc.start()
    try:
        change()
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
