"""A bucket in memory, as Google Cloud Storage is."""

import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem


class Bucket(MemoryFileSystem):
    """Stands in for Google Cloud Storage: objects in memory, nothing can be appended."""

    protocol = ("gcs", "gs")
    store: dict = {}
    pseudo_dirs: list = [""]

    def __init__(self, finalize_on_close=True, **words):
        super().__init__(**words)

    @classmethod
    def _strip_protocol(cls, path):
        path = str(path).removeprefix("gcs://").removeprefix("gs://").strip("/")
        return f"/{path}" if path else ""

    def _open(self, path, mode="rb", **words):
        assert "a" not in mode, "objects cannot be appended to"
        return super()._open(path, mode, **words)


def make(monkeypatch: pytest.MonkeyPatch) -> epath.Path:
    """An empty one, which is gs://bucket while the test runs."""
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: Bucket(skip_instance_cache=True))
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])
    return epath.Path("gs://bucket")
