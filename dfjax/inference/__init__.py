"""Checkpoint and media become scores."""

import pathlib

from dfjax.records import InputError
from dfjax.runtime import cli


def load(path: str | pathlib.Path | None = None, face_model: str | None = None):
    """A `detector.Detector`, ready to judge files.

    Args:
      path: the workdir of a run, which takes what training takes, the extra `train`; or a bundle, the file that
        dfjax.export writes, for which JAX, NumPy and decoders are enough; None for the detector of speech that comes
        with dfjax, a bundle too.
      face_model: YuNet's ONNX file, for a detector whose training faces were found by it.

    Raises:
      InputError: there is nothing of this name, no finished run, the bundle is damaged, the face model is missing, or
        what a run needs is not installed.
    """
    from dfjax.inference import bundle  # and with it JAX

    if path is None or bundle.is_bundle(path):
        return bundle.load(bundle.SPEECH if path is None else path, face_model)
    try:
        from dfjax.inference import trained
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path} is no bundle, and a run needs {error.name}: {cli.installing(error.name or '')}, or give the file "
            "that dfjax.export made of the run"
        ) from error
    return trained.load(path, face_model)
