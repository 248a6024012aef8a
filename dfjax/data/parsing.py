"""The bytes of a prepared record to its fields, without TFDS's parser, which works for any features and takes longer.

What `dfjax.records.features` describes is all there is: text and encoded pictures are bytes, labels and frame numbers
integers, a duration is a number, a box four of them, and sound is int16 samples in bytes.
"""

from typing import Any

import numpy as np


def parse(data: bytes) -> dict[str, Any]:
    """The fields of a record (see `records`) as TFDS reads them: the same names, types and values.

    Raises:
      google.protobuf.message.DecodeError: no tf.train.Example.
      ValueError: a field without a value.
    """
    from tensorflow_datasets.proto import tf_example_pb2  # see `sources.open_split`

    record = {}
    for name, field in tf_example_pb2.Example.FromString(data).features.feature.items():
        kind = field.WhichOneof("kind")
        if kind is None:
            raise ValueError(f"field {name!r} has no value")
        values = getattr(field, kind).value
        if name == "audio":
            record[name] = np.frombuffer(values[0], np.int16)
        elif name == "box":
            record[name] = np.array(values, np.float32)
        else:
            (record[name],) = values
    return record
