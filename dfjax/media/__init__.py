"""Decoding: a file of the user becomes samples or face crops, for training and prediction alike."""


class MediaError(Exception):
    """A media file that cannot be used; the message is the reason, without the file's name."""
