"""The meaning of a record: labels, required fields, and the one error type for a user's mistake.

Every prepared record has
  id       stable, relative to the dataset's root, unique in the dataset; never a local absolute path
  label    1 fake, 0 real, -1 unknown (never trained on)
  group    the unit that must never straddle splits: speaker, identity pair, source video
  clip     the unit whose windows or frames become one score; one file of the user
  method   generator or manipulation; empty for real
  dataset  the builder's name
  domain   where it was recorded or published: a site, a corpus, a part of one; the dataset's name where nothing
           else is known. What a detector has not met in one domain it need not know in the next.
and, by modality,
  audio    int16 (samples,), 16 kHz mono, at most MAX_SAMPLES long; duration: seconds of the whole clip
  image    encoded bytes of the picture or face crop; for video frame (index) and box (x0, y0, x1, y1 in
           pixels)
Audio-visual ('av') records hold a face crop as of a video, and as `audio` the SAMPLE_RATE samples around its
frame; `picture` and `sound` say what each is by itself: 'real', 'fake', or '' where that is not known.
To these come the dataset's own subgroup fields (gender, ethnicity, language, codec), all text.
"""

import dataclasses

REAL, FAKE, UNKNOWN = 0, 1, -1
LABEL_NAMES = ("real", "fake")

SAMPLE_RATE = 16_000  # Hz, of every prepared waveform
MAX_SAMPLES = 64_600  # 4.0375 s, the window of the ASVspoof detectors; longer clips are cut into windows

SPLITS = ("train", "validation", "test")
TEXT_FIELDS = ("id", "group", "clip", "method", "dataset", "domain")
SUBGROUPS = ("gender", "ethnicity", "language", "codec")
PARTS = ("picture", "sound")  # of an audio-visual clip, each with a label of its own
MEDIA = {"audio": ("audio",), "image": ("image",), "av": ("image", "audio")}  # modality -> what records hold


@dataclasses.dataclass(frozen=True)
class Input:
    """What a detector is to be given of a record."""

    modality: str  # a key of MEDIA
    size: int | None  # pixels, side of its pictures
    samples: int | None  # the one length of clip that it accepts, where there is one


class InputError(ValueError):
    """The user's input cannot be used. The message is one line: what was given, what was expected, what to do."""


class Diverged(FloatingPointError):
    """A training whose numbers are no numbers any more. The message is one line that says what to lower."""


class SourceNeeded(InputError):
    """A dataset is not prepared, and nobody says where its media lie."""


def features(modality: str, *, subgroups: tuple[str, ...] = (), video: bool = False):
    """The TFDS feature dict of a record, for `builder.dataset_info_from_configs(features=...)`.

    Args:
      modality: 'audio', 'image' or 'av'.
      subgroups: names out of SUBGROUPS that this dataset knows.
      video: whether images are frames of a video (adds `frame` and `box`).

    Raises:
      ValueError: another modality.
    """
    import numpy as np
    import tensorflow_datasets as tfds

    fields = {name: tfds.features.Text() for name in (*TEXT_FIELDS, *subgroups)}
    fields["label"] = tfds.features.Scalar(np.int64)
    if modality not in MEDIA:
        raise ValueError(f"modality must be one of {list(MEDIA)}, got {modality!r}")
    if modality in ("audio", "av"):
        # encoding='bytes' reads 16 times faster than the default list of varints
        fields["audio"] = tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")
        fields["duration"] = tfds.features.Scalar(np.float32)
    if modality in ("image", "av"):
        fields["image"] = tfds.features.Tensor(shape=(), dtype=np.object_)
        if video or modality == "av":
            fields["frame"] = tfds.features.Scalar(np.int64)
            fields["box"] = tfds.features.Tensor(shape=(4,), dtype=np.float32)
    if modality == "av":
        fields |= {name: tfds.features.Text() for name in PARTS}
    return tfds.features.FeaturesDict(fields)
