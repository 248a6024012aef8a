"""A user's recordings: 3 fake to 1 real, fakes twice as long."""

from tests.data_builders import fixtures


def make(root):
    """The files below a folder, in splits; returns it."""
    for split, n in (("train", 6), ("val", 2), ("test", 2)):
        for i in range(n):
            fixtures.audio(root / split / "real" / f"{split}{i}.wav", 0.5, seed=i)
            for k in range(3):
                fixtures.audio(root / split / "fake" / f"{split}{i}-{k}.flac", 1.0, seed=100 * k + i)
    return root
