"""Records parsed without TFDS hold what TFDS reads."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from dfjax import records
from dfjax.data import parsing

TEXT = {"id": "a/ü.wav", "group": "", "clip": "a", "method": "", "dataset": "made", "domain": "x", "gender": "f"}
SOUND = {"audio": np.arange(-3, 400, dtype=np.int16), "duration": np.float32(0.1)}
PICTURE = {"image": b"\x00\xff\x00 not text"}
FRAME = {"frame": -7, "box": np.array([0.1, -2, 3e7, 4], np.float32)}
KINDS = {
    "audio": ({"modality": "audio"}, SOUND),
    "image": ({"modality": "image"}, PICTURE),
    "video": ({"modality": "image", "video": True}, PICTURE | FRAME),
    "av": ({"modality": "av"}, PICTURE | FRAME | SOUND | {"picture": "real", "sound": ""}),
}


def written(kind, **changes):
    words, media = KINDS[kind]
    features = records.features(subgroups=("gender",), **words)
    example = TEXT | {"label": 0} | media | changes
    return features, features.serialize_example(example)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [records.REAL, records.FAKE, records.UNKNOWN])
def test_every_field_has_the_value_and_type_that_tfds_gives_it(kind, label):
    features, data = written(kind, label=label)
    expected, found = features.deserialize_example_np(data), parsing.parse(data)
    assert found.keys() == expected.keys() == features.keys()
    for name, value in expected.items():
        assert type(found[name]) is type(value), name
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_an_empty_clip_and_an_empty_picture_are_read():
    assert parsing.parse(written("audio", audio=np.zeros(0, np.int16))[1])["audio"].shape == (0,)
    assert parsing.parse(written("image", image=b"")[1])["image"] == b""


def test_what_is_no_record_is_refused():
    _, data = written("audio")
    with pytest.raises(DecodeError):
        parsing.parse(data[:-1])
    example = tf_example_pb2.Example.FromString(data)
    example.features.feature["label"].ClearField("int64_list")
    with pytest.raises(ValueError, match="'label' has no value"):
        parsing.parse(example.SerializeToString())
    example.features.feature["label"].int64_list.value.extend([])
    example.features.feature["label"].int64_list.SetInParent()
    with pytest.raises(ValueError):
        parsing.parse(example.SerializeToString())
