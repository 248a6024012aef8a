"""Checkpoint and media become scores."""

import pathlib

from dfjax.records import InputError


def load(path: str | pathlib.Path | None = None, face_model: str | None = None):
    """A `detector.Detector`, ready to judge files.

    Args:
      path: the workdir of a run; or a bundle, the file that dfjax.export writes, for which JAX, NumPy and decoders are
        enough; None for the detector of speech that comes with dfjax.
      face_model: YuNet's ONNX file, for a detector whose training faces were found by it.

    Raises:
      InputError: there is nothing of this name, no finished run, the bundle is damaged, or the face model is missing.
    """
    # each way of loading imports what it needs: a bundle nothing that training needs
    if path is not None and pathlib.Path(path).is_file():
        from dfjax.inference import bundle

        return bundle.load(path, face_model)
    if path is not None and "://" not in str(path) and not pathlib.Path(path).exists():
        raise InputError(f"{path} does not exist; give the workdir of a finished run, or a bundle of dfjax.export")
    from dfjax.inference import trained, weights

    return trained.load(weights.SPEECH if path is None else path, face_model)
