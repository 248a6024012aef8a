"""The default audio detector: a kernel machine on statistics of phase and power averaged in bands.

The front end (features/band_statistics.py) learns nothing, so a training computes it once for each clip and cut and
then takes a few Newton steps on a convex problem, in a second. Chosen, front end and head, by leaving sources out: it
ranks recordings of a source that it has never heard better than networks that learn their features from as few hours.

    statistics, standardised and clipped -> Gaussian kernel to landmarks out of the training clips -> coordinates in the
    kernel's space (Nystrom; Williams and Seeger, NeurIPS 2000) -> a logit that is linear in them

Of two kinds of fakes, stored ones and those that the run makes, each may have a logit of its own, learnt from it and
the reals alone: made fakes teach what other vocoders leave behind, and in one logit they blur what stored ones teach.

A clip can be heard at several speeds: its statistics are the mean of those that it has a little slower and faster, in
training and after. What belongs to one recording's rate, filters and pitch is averaged out, and sources never heard are
ranked better.

A clip can be compared with itself: beside its statistics stands how they differ from those of the same clip built again
from its magnitudes (features/rebuilt.py). What belongs to its source is in both.

Lines that upsampling leaves (features/upsampling.py) and samples on few levels (features/companding.py) can count
beside all that: they need no training, so they are added to the logit as they are, and training does not see them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from dfjax.features import band_statistics, companding, rebuilt, speed, turns, upsampling
from dfjax.models import heads
from dfjax.records import REAL, InputError

CLIP = 4.0  # standard deviations: what lies farther is an outlier of one clip
LEAST = 1e-4  # least curvature of a clip's loss in a Newton step, where the loss is flat or bends the other way
RARE = 1e-9  # least share of a kind of fakes: one that does not occur has no say
JITTER = 1e-5  # least eigenvalue of the landmarks' kernel, which is 1 on its diagonal
# a coordinate of the embedding is the marks' logit times this: distances in the embedding, by which typicality goes,
# hardly know of it, since a vocoder's lines are as plain in what is like no training data
FAINT = 1e-3


class BandKernel(nnx.Module):
    """Band statistics -> kernel coordinates -> logit; trained by `start` and `newton`, not by gradients.

    Args:
      rngs: unused: what is drawn, is drawn from the data.
      dtype: unused: everything is float32.
      landmarks: training clips that stand for all.
      width: of the kernel, in units of the mean square distance between clips.
      ridge: weight of the squared norm beside the mean loss.
      kinds: logits: 1; or 2, of stored fakes and of made ones, put together by their shares (`heads.AnyKind`).
      speeds: at which a clip is heard; its statistics are the mean.
      compared: whether each clip is compared with itself, built again from its magnitudes.
      floored: whether bins without power count for nothing (features/band_statistics.py).
      lines: whether lines of upsampling count (features/upsampling.py).
      levels: whether samples on few levels count beside them (features/companding.py).

    Raises:
      InputError: levels are to count without lines.
    """

    modality = "audio"

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
        landmarks: int = 768,
        width: float = 1.0,
        ridge: float = 5e-5,
        kinds: int = 1,
        speeds: tuple[float | int, ...] = (1.0,),
        compared: bool = False,
        floored: bool = False,
        lines: bool = False,
        levels: bool = False,
    ):
        if levels and not lines:
            raise InputError("model.kwargs.levels without model.kwargs.lines; levels count beside lines: set both")
        inputs = band_statistics.STATISTICS * band_statistics.BANDS * len(band_statistics.WINDOWS) * (1 + compared)
        self.width, self.ridge, self.kinds, self.speeds = width, ridge, kinds, tuple(speeds)
        self.compared, self.floored, self.lines, self.levels = compared, floored, lines, levels
        self.mean = nnx.Param(jnp.zeros(inputs))
        self.deviation = nnx.Param(jnp.ones(inputs))
        self.landmarks = nnx.Param(jnp.zeros((landmarks, inputs)))
        self.slope = nnx.Param(jnp.ones(()))  # of the kernel's exponent
        self.whitening = nnx.Param(jnp.eye(landmarks))
        width = landmarks + lines
        self.head = heads.Linear(width, rngs=rngs) if kinds == 1 else heads.AnyKind(width, kinds, rngs=rngs)

    def statistics(self, x: Float[Array, "batch time"]) -> Float[Array, "batch statistics"]:
        """What the front end makes of each clip: the mean of its statistics at each of the speeds.

        Where it is compared, beside them is how they differ from those of the clip built again. On a CPU clips go one
        by one, so that a clip's numbers do not depend on the batch that it is in.
        """
        return turns.few_at_a_time(self._statistics, x, each=1)

    def _statistics(self, x: Float[Array, "batch time"]) -> Float[Array, "batch statistics"]:
        time = x.shape[1]
        sounds = jnp.stack([x, rebuilt.rebuilt(x)], axis=1).reshape(-1, time) if self.compared else x
        heard = jnp.stack([speed.played(sounds, factor) for factor in self.speeds], axis=1)
        found = band_statistics.band_statistics(heard.reshape(-1, time), floored=self.floored)
        found = found.reshape(sounds.shape[0], len(self.speeds), -1).mean(axis=1)
        if not self.compared:
            return found
        own, again = found.reshape(x.shape[0], 2, -1).swapaxes(0, 1)
        return jnp.concatenate([own, own - again], axis=1)

    def embed(self, x: Float[Array, "batch time"] | dict, *, rngs=None) -> Float[Array, "batch dim"]:
        """Coordinates whose products are the kernel, (batch, landmarks); behind them, faintly, what marks count.

        Args:
          x: waveforms; or {'audio': waveforms, 'length': (batch,)} of waveforms that begin again after so many samples,
            beside them perhaps what `marks` found, if that is known; or {'statistics': (batch, statistics)}, which
            `statistics` made of waveforms before: their marks are gone.
          rngs: unused.
        """
        if not isinstance(x, dict):
            x = {"audio": x, "length": jnp.full(x.shape[0], x.shape[1])}
        statistics = x["statistics"] if "statistics" in x else self.statistics(x["audio"])
        coordinates = self._coordinates(statistics)
        if not self.lines:
            return coordinates
        if "statistics" in x:
            return jnp.pad(coordinates, ((0, 0), (0, 1)))
        found = x if "lines" in x else self.marks(x)
        added = found["lines"][:, 2:] + (found["levels"][:, 1:] if self.levels else 0.0)
        return jnp.concatenate([coordinates, FAINT * added], axis=1)

    def marks(self, x: dict) -> dict[str, Float[Array, "batch _"]]:
        """`lines`, as `upsampling.strongest` has them of 'audio' and 'length', and `levels`, as `companding.companded`.

        On a CPU clips go one by one.
        """
        looked = {"lines": upsampling.strongest} | ({"levels": companding.companded} if self.levels else {})
        sounds = {name: x[name] for name in ("audio", "length")}

        def found(look):
            return turns.few_at_a_time(lambda heard: look(heard["audio"], heard["length"]), sounds, each=1)

        return {name: found(look) for name, look in looked.items()}

    def _coordinates(self, statistics: Float[Array, "batch statistics"]) -> Float[Array, "batch landmarks"]:
        inputs = _inputs(statistics, self.mean[...], self.deviation[...])
        return _product(_kernel(inputs, self.landmarks[...], self.slope[...]), self.whitening[...])

    def __call__(self, x: Float[Array, "batch time"] | dict, *, rngs=None) -> Float[Array, " batch"]:
        return self.head(self.embed(x))

    def start(
        self,
        statistics: Float[Array, "rows statistics"],
        labels: Int[Array, " rows"],
        kinds: Int[Array, " rows"],
        weights: Float[Array, " rows"],
        key: Key[Array, ""],
    ) -> PyTree:
        """The parameters before the first step; the head answers with its bias and the marks alone.

        Args:
          statistics: of the training clips.
          labels: 1 fake, 0 real.
          kinds: of fakes: 0 stored, 1 made.
          weights: how much each clip counts; they sum to 1.
          key: draws the landmarks, by weight.
        """
        mean = _product(weights, statistics)
        deviation = jnp.sqrt(_product(weights, (statistics - mean[None]) ** 2)) + 1e-6
        inputs = _inputs(statistics, mean, deviation)
        count = self.landmarks.shape[0]
        replace = count > len(weights)
        landmarks = inputs[jax.random.choice(key, len(weights), (count,), replace=replace, p=weights)]
        slope = self.width / (2 * _product(weights, (inputs**2).sum(axis=1)))
        values, vectors = jnp.linalg.eigh(_kernel(landmarks, landmarks, slope))
        whitening = vectors * jax.lax.rsqrt(jnp.where(values > JITTER, values, JITTER))[None]
        found = {"mean": mean, "deviation": deviation, "landmarks": landmarks, "slope": slope, "whitening": whitening}
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param)) | found
        params["head"]["out"]["kernel"] = jnp.zeros_like(params["head"]["out"]["kernel"]).at[count:].set(1 / FAINT)
        if self.kinds > 1:
            fake = jnp.where(labels == REAL, 0.0, weights)
            shares = jnp.stack([jnp.where(kinds == kind, fake, 0.0).sum() for kind in range(self.kinds)]) / fake.sum()
            params["head"]["log_share"] = jnp.log(jnp.where(shares > RARE, shares, RARE))
        return params

    def newton(
        self,
        statistics: Float[Array, "rows statistics"],
        labels: Int[Array, " rows"],
        kinds: Int[Array, " rows"],
        weights: Float[Array, " rows"],
        loss: Callable[[Array, Array], Array],
    ) -> tuple[PyTree, Float[Array, ""], Float[Array, ""]]:
        """The parameters after one Newton step on the head; the objective and the norm of its gradient before it.

        Args:
          statistics: of the training clips.
          labels: 1 fake, 0 real.
          kinds: of fakes: 0 stored, 1 made; of no matter where the head has one logit.
          weights: how much each clip counts; they sum to 1.
          loss: (logits, labels) -> per-example loss, twice differentiable.
        """
        design = jnp.concatenate([self._coordinates(statistics), jnp.ones((len(labels), 1))], axis=1)
        count, kernel = self.landmarks.shape[0], self.head.out.kernel[...]
        thetas = jnp.concatenate([kernel[:count], self.head.out.bias[...][None]])
        if self.kinds == 1:
            shares, seen = [1.0], [weights]
        else:  # each kind as if all fakes were of it
            shares = jnp.exp(self.head.log_share[...])
            seen = [
                jnp.where(labels == REAL, weights, jnp.where(kinds == kind, weights / share, 0.0))
                for kind, share in enumerate(shares)
            ]
        each = [self._step(thetas[:, kind], design, labels, rows, loss) for kind, rows in enumerate(seen)]
        found, objectives, norms = zip(*each, strict=True)
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        thetas = jnp.stack(found, axis=1)
        params["head"]["out"] = {"kernel": jnp.concatenate([thetas[:-1], kernel[count:]]), "bias": thetas[-1]}
        objective = sum(share * value for share, value in zip(shares, objectives, strict=True))
        return params, objective, jnp.linalg.norm(jnp.stack(norms))

    def _step(self, theta: Array, design: Array, labels: Array, weights: Array, loss: Callable) -> tuple:
        """One logit's parameters after a step, the objective and the norm of its gradient before it."""
        logits = _product(design[:, :-1], theta[:-1]) + theta[-1]

        def one(logit, label):
            return loss(logit[None], label[None])[0]

        slopes = jax.vmap(jax.grad(one))(logits, labels) * weights
        bends = jax.vmap(jax.grad(jax.grad(one)))(logits, labels)
        curvatures = jnp.where(bends > LEAST, bends, LEAST) * weights
        penalty = self.ridge * jnp.append(jnp.ones(len(theta) - 1), 1e-3)
        gradient = _product(design.T, slopes) + penalty * theta
        hessian = _product(design.T * curvatures[None], design) + jnp.diag(penalty)
        objective = _product(weights, loss(logits, labels)) + 0.5 * (penalty * theta**2).sum()
        step = jax.scipy.linalg.solve(hessian, gradient, assume_a="pos")
        return theta - step, objective, jnp.linalg.norm(gradient)


def _inputs(statistics: Array, mean: Array, deviation: Array) -> Float[Array, "rows statistics"]:
    standard = (statistics - mean[None]) / deviation[None]
    return jnp.where(jnp.abs(standard) < CLIP, standard, CLIP * jnp.sign(standard))


def _kernel(inputs: Array, landmarks: Array, slope: Array) -> Float[Array, "rows landmarks"]:
    """Gaussian kernel: exp(-slope |x - y|^2)."""
    squares = (inputs**2).sum(axis=1)[:, None] + (landmarks**2).sum(axis=1)[None]
    return jnp.exp(-slope * jax.nn.relu(squares - 2 * _product(inputs, landmarks.T)))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
