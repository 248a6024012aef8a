"""A bundle that calls loud sound fake: it is compiled at once, so a service of several processes starts in seconds."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from dfjax.decide.decision import write_decision
from dfjax.import_weights import untuned
from dfjax.inference import bundle, lowering
from dfjax.inference.detector import digest
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE


def write(folder, decision=None):
    """Writes loudness.zip into a folder, with a decision or an untuned one; returns its path."""
    arrays = {"scale": np.float32([1 / 8192])}

    def score(arrays, batch):
        return {"score": jnp.abs(batch["audio"].astype(jnp.float32)).mean(axis=1) * arrays["scale"] - 0.1}

    (batch,) = export.symbolic_shape(lowering.BATCH)
    shapes = {"scale": jax.ShapeDtypeStruct((1,), jnp.float32)}
    sound = {"audio": ((batch, SAMPLE_RATE), jnp.int16), "length": ((batch,), jnp.int32)}
    example = {name: jax.ShapeDtypeStruct(*words) for name, words in sound.items()}
    program = export.export(jax.jit(score), platforms=bundle.PLATFORMS)(shapes, example)
    about = {"dfjax": "0", "model": "loudness", "shapes": [SAMPLE_RATE], "media": ["audio", {}]}
    about |= {"input": {"modality": "audio", "size": None, "samples": SAMPLE_RATE}}
    about |= {"sample_rate": SAMPLE_RATE, "window": MAX_SAMPLES, "weights": digest(arrays)}
    write_decision(folder / bundle.DECISION, decision or untuned())
    members = {
        bundle.ABOUT: json.dumps(about).encode(),
        bundle.DECISION: (folder / bundle.DECISION).read_bytes(),
        bundle.WEIGHTS: bundle.pack(arrays),
        bundle.CARD: b"It calls loud sound fake.",
        bundle.program_name(SAMPLE_RATE): bytes(program.serialize()),
    }
    bundle.write(folder / "loudness.zip", members)
    return folder / "loudness.zip"
