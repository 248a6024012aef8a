"""torch_file: what PyTorch wrote is read back; whatever would execute is refused by name."""

import contextlib
import itertools
import pathlib
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from dfjax.models import torch_file
from dfjax.records import InputError

AASIST = pathlib.Path(__file__).resolve().parents[2] / "../shared/data/aasist/AASIST.pth"

# A pickle assembler, just enough to say what PyTorch says and what it never would.
PROTO, STOP = b"\x80\x02", b"."


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    return b"J" + struct.pack("<i", value)


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def tensor(key, storage, elements, shape, strides, offset=0):
    pid = tuple_of(text("storage"), name("torch", storage), text(key), text("cpu"), integer(elements)) + b"Q"
    shape, strides = (tuple_of(*map(integer, v)) for v in (shape, strides))
    hooks = name("collections", "OrderedDict") + b")R"
    args = tuple_of(pid, integer(offset), shape, strides, b"\x89", hooks)
    return name("torch._utils", "_rebuild_tensor_v2") + args + b"R"


def dict_of(**items):
    return b"}(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def write(path, program, compression=zipfile.ZIP_STORED, top="archive", **storages):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{top}/data.pkl", PROTO + program + STOP)
        for key, raw in storages.items():
            archive.writestr(f"{top}/data/{key.removeprefix('s')}", raw)
    return path


@pytest.mark.parametrize(("storage", "dtype"), sorted(torch_file.STORAGES.items()))
def test_every_element_type_comes_back(tmp_path, storage, dtype):
    values = np.arange(6).astype(dtype).reshape(2, 3)
    program = dict_of(w=tensor("0", storage.removeprefix("torch."), 6, (2, 3), (3, 1)))
    read = torch_file.state_dict(write(tmp_path / "a.pth", program, s0=values.tobytes()))["w"]
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_strides_and_offsets_are_honoured(tmp_path):
    values = np.arange(10, dtype=np.float32)
    program = dict_of(
        transposed=tensor("0", "FloatStorage", 10, (3, 2), (1, 3)),
        tail=tensor("0", "FloatStorage", 10, (2,), (1,), offset=8),
        scalar=tensor("0", "FloatStorage", 10, (), (), offset=5),
        empty=tensor("0", "FloatStorage", 10, (0, 4), (4, 1)),
    )
    read = torch_file.state_dict(write(tmp_path / "a.pth", program, s0=values.tobytes()))
    np.testing.assert_array_equal(read["transposed"], values[:6].reshape(2, 3).T)
    np.testing.assert_array_equal(read["tail"], [8, 9])
    assert read["scalar"].shape == () and read["scalar"] == 5
    assert read["empty"].shape == (0, 4)


def test_weights_nested_by_a_training_script_are_found(tmp_path):
    weights = dict_of(**{"module.w": tensor("0", "FloatStorage", 1, (1,), (1,))})
    path = write(tmp_path / "a.pth", dict_of(epoch=integer(3), state_dict=weights), s0=b"\0\0\x80?")
    assert torch_file.state_dict(path) == {"w": np.float32(1)}
    assert torch_file.read(path)["epoch"] == 3


class Exploit:
    """Pickled by Python itself: unpickling would run the command."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def test_a_file_with_a_damaged_byte_is_refused_or_read(tmp_path):
    """zipfile says it in five ways, two of which ended in a traceback."""
    values = np.zeros(3, np.float32)
    written = write(tmp_path / "a.pth", dict_of(w=tensor("0", "FloatStorage", 3, (3,), (1,))), s0=values.tobytes())
    whole = written.read_bytes()
    for at, value in itertools.product(range(len(whole)), (0, 255)):
        (tmp_path / "b.pth").write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
        with contextlib.suppress(InputError):
            torch_file.state_dict(tmp_path / "b.pth")


def test_a_dict_that_lies_in_itself_has_an_end(tmp_path, monkeypatch):
    tree = {}
    tree["model"] = tree
    monkeypatch.setattr(torch_file, "read", lambda path: tree)
    with pytest.raises(InputError, match="holds no state dict"):
        torch_file.state_dict(tmp_path / "a.pth")


def test_tensors_without_a_name_are_no_weights(tmp_path, monkeypatch):
    """As those of an optimiser, which are numbered."""
    monkeypatch.setattr(torch_file, "read", lambda path: {"params": {0: np.ones(3, np.float32)}})
    with pytest.raises(InputError, match=r"moments\.pth holds no state dict; expected named tensors"):
        torch_file.state_dict(tmp_path / "moments.pth")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", ["os.system", "builtins.eval", "subprocess.Popen", "runpy.run_path"])
def test_a_pickle_that_would_execute_is_refused_and_does_nothing(tmp_path, protocol, function):
    canary = tmp_path / "canary"
    module, attribute = function.rsplit(".", 1)
    target = getattr(__import__(module), attribute)
    program = pickle.dumps({"w": Exploit(target, f"touch {canary}")}, protocol=protocol)
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    with pytest.raises(InputError, match="refused") as refusal:
        torch_file.read(path)
    if protocol >= 2:  # protocols 0 and 1 already stop at an instruction that checkpoints do not have
        assert f"{attribute}'" in str(refusal.value)
    assert not canary.exists()


REFUSED = {
    "a call of a storage type": name("torch", "FloatStorage") + b")R",
    "a call of a value": integer(1) + b")R",
    "an instance by INST": b"(ios\nsystem\n",
    "an instance by OBJ": b"(" + name("collections", "OrderedDict") + b"o",
    "__new__ by NEWOBJ": name("collections", "OrderedDict") + b")\x81",
    "an extension code": b"\x82\x01",
    "a name left as a value": dict_of(w=name("torch", "FloatStorage")),
    "a dotted escape": name("collections", "OrderedDict.__init__.__globals__"),
    "numpy's loader": name("numpy.core.multiarray", "_reconstruct"),
    "attributes of a name": name("collections", "OrderedDict") + dict_of(x=integer(1)) + b"b",
    "a storage outside the archive": dict_of(w=tensor("../../etc/passwd", "FloatStorage", 1, (1,), (1,))),
    "a missing storage": dict_of(w=tensor("7", "FloatStorage", 1, (1,), (1,))),
    "a storage of another size": dict_of(w=tensor("0", "FloatStorage", 2, (1,), (1,))),
    "a view past the end": dict_of(w=tensor("0", "FloatStorage", 1, (2,), (1,))),
    "an offset past the end": dict_of(w=tensor("0", "FloatStorage", 1, (1,), (1,), offset=1)),
    "a negative offset": dict_of(w=tensor("0", "FloatStorage", 1, (1,), (1,), offset=-1)),
    "a negative stride": dict_of(w=tensor("0", "FloatStorage", 1, (1,), (-1,))),
    "an expansion": dict_of(w=tensor("0", "FloatStorage", 1, (2**30, 2**30), (0, 0))),
    "an empty stack": b"0",
    "an unknown memo": b"h\x09",
    "an unbalanced mark": b"u",
    "no weights": dict_of(epoch=integer(3)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_crafted_archives_are_refused(tmp_path, what):
    with pytest.raises(InputError):
        torch_file.state_dict(write(tmp_path / "evil.pth", REFUSED[what], s0=b"\0" * 4))


def test_what_is_not_such_an_archive_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        torch_file.read(tmp_path / "none.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(InputError, match="not a zip-format"):
        torch_file.read(tmp_path / "old.pth")
    with pytest.raises(InputError, match="compressed"):
        torch_file.read(write(tmp_path / "bomb.pth", dict_of(), zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match="found 0"):
        torch_file.read(write(tmp_path / "deep.pth", dict_of(), top="a/b"))


def test_a_cut_file_is_refused_at_every_length(tmp_path):
    values = np.zeros(3, np.float32)
    whole = write(
        tmp_path / "a.pth", dict_of(w=tensor("0", "FloatStorage", 3, (3,), (1,))), s0=values.tobytes()
    ).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(InputError):
            torch_file.read(tmp_path / "cut.pth")


def test_released_aasist_is_read():
    if not AASIST.exists():
        pytest.skip("needs ../shared/data/aasist/AASIST.pth")
    weights = torch_file.state_dict(AASIST)
    counted = sum(w.size for n, w in weights.items() if not n.endswith(("running_mean", "running_var", "tracked")))
    assert counted == 297_866


def test_equals_torch(tmp_path):
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    saved = {
        "dense": torch.from_numpy(generator.normal(size=(4, 5, 6))),
        "half": torch.from_numpy(generator.normal(size=7)).half(),
        "brain": torch.from_numpy(generator.normal(size=7)).bfloat16(),
        "view": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1)[1:, :, ::2],
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    torch.save(saved, tmp_path / "a.pth")
    for key, value in torch_file.state_dict(tmp_path / "a.pth").items():
        expected = saved[key].detach()
        expected = expected.float().numpy().astype(ml_dtypes.bfloat16) if key == "brain" else expected.numpy()
        np.testing.assert_array_equal(value, expected)
