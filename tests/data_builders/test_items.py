"""Items and names kept as bytes are the same as tuples and texts, in less memory; digests stay those of before."""

import hashlib
import tracemalloc

import pytest
from etils import epath

from data_builders import configs, indexing
from data_builders.items import Item, Items
from data_builders.preparing import MediaConfig
from tests.data_builders import trees

ROOT, OTHER = epath.Path("/media/a"), epath.Path("/media/b")
NAMES = ["b/x.wav", "b/a/x.wav", "b.wav", "a b/ü.wav", "b/x y.wav", "b/\udcff.wav", "b/", "Ä/\U0001f600.wav", "b/a.wav"]


def items():
    made = [Item(ROOT, name, i % 2, "train", name, name) for i, name in enumerate(NAMES)]
    made += [Item(OTHER, f"f/{i}", 1, "test", "speaker", "clip", "m", (("gender", "women"),), "fake") for i in range(3)]
    return made + [Item(ROOT, "z", 0, "validation", "b/x.wav", "z", domain="radio", sound="real")]


def test_they_are_the_same_items():
    plain = items()
    kept = Items(plain)
    assert kept == plain and list(kept) == plain and len(kept) == len(plain)
    assert kept != plain[1:] and kept != [*plain[1:], plain[0]] and kept != 3
    assert [kept[i] for i in range(-3, 3)] == [plain[i] for i in range(-3, 3)] and kept[::-2] == plain[::-2]
    with pytest.raises(IndexError):
        kept[len(plain)]
    assert kept[0].path == ROOT / "b/x.wav"
    assert Items() == [] and not Items() and Items().order().size == 0


def test_their_order_is_that_of_the_ids_where_folders_lie_in_folders():
    plain = sorted(items(), key=lambda item: item.id)
    kept = Items(items())
    assert [kept[row].id for row in kept.order()] == [item.id for item in plain]
    kept.sort()
    assert kept == plain
    assert [kept.find(item.id) for item in plain] == list(range(len(plain)))
    assert kept.find("b/y.wav") is kept.find("zz") is kept.find("") is None


def test_moved_are_others_and_both_take_more():
    kept = Items(items())
    other = kept.moved(["test"] * len(kept))
    assert {item.split for item in other} == {"test"} and kept == items()
    for one in (kept, other):
        one.append(Item(ROOT, f"new/{id(one)}", 1, "train", "another", "c"))
    assert kept[:-1] == items() and kept[-1].id == f"new/{id(kept)}" and other[-1].id == f"new/{id(other)}"
    assert len({item.id for item in (*kept, *other)}) == len(items()) + 2


def test_an_item_takes_little_more_than_its_name():
    tracemalloc.start()
    kept = Items(Item(ROOT, f"some folder/{i % 5}/{i:08d}.wav", i % 2, "train", f"{i % 9}", "c") for i in range(20_000))
    taken = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert taken < 50  # bytes; a tuple with its text 260


def test_digests_are_those_of_before(tmp_path):
    """A prepared dataset is known by them."""
    told = [(f"{name}\t1\ttrain\t{name}", i) for i, name in enumerate(NAMES) if "\udcff" not in name]
    lines = sorted(f"{id_}\t{length}" for id_, length in told)
    assert indexing.listing_digest(told) == hashlib.blake2b("\n".join(lines).encode(), digest_size=4).hexdigest()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "link").symlink_to(tmp_path)  # to a folder: a file of 4 kB by Python 3.12's walk
    trees.put(tmp_path, "real/b.wav", "real/b/a.wav", "fake/metadata.csv", "metadata.csv", ".DS_Store", data=b"file")
    expected = "\n".join(f"{n}\t4" for n in ("fake/metadata.csv", "metadata.csv", "real/b.wav", "real/b/a.wav"))
    parts = [hashlib.blake2b(expected.encode(), digest_size=4).hexdigest().encode(), b"file", b"file"]
    digest = hashlib.blake2b(b"".join(parts), digest_size=4).hexdigest()
    assert configs.source_config(MediaConfig(name="folder"), epath.Path(tmp_path)).name.endswith(f"-{digest}")
    index = indexing.Index(
        "x", "", Items(Item(epath.Path(tmp_path), "real/b.wav", 0, "train", "g/h", "c") for _ in "1")
    )
    assert indexing.source_digest(index) == hashlib.blake2b(b"real/b.wav\t0\ttrain\tg/h\t4", digest_size=4).hexdigest()
