"""What an experiment may say: each option's type, range and meaning, a row each. A new option is a new row.

Ranges are what the code can do and what has a meaning: a value outside makes shapes that do not exist, numbers that
are not finite, or a run in which the option does nothing. Values that must fit each other are left to the code that
brings them together, unless it runs too late for an early word (`options.check`).
"""

import dataclasses
from typing import Any

from dfjax.records import MAX_SAMPLES, SAMPLE_RATE
from dfjax.training.kinds import Choice, Either, Flag, Group, Kind, Number, Rates, Several, Text, Whole


@dataclasses.dataclass(frozen=True)
class Option:
    """A row of the table."""

    name: str  # after 'config.'
    kind: Kind
    meaning: str
    default: Any = ...  # where it may be left out; '...' where it may not
    of: tuple[str, ...] = ()  # the detectors, losses or modalities that have it; all if empty

    def __str__(self) -> str:
        return f"{self.kind} ({self.meaning})"


NONE, OFF = Choice((None,)), Choice((0,))
SHARE, PART = Number(0, 1), Number(0, 1, below=True)
INSIDE = Number(0, 1, above=True, below=True)
DECAY = Number(0, 0.999999)  # the float32 a little above is 1, which forgets nothing
COUNT = Whole(1, 1_000_000_000)  # steps are counted in 32 bits
WIDTH = Whole(1, 8192)
PIXELS = Whole(32, 4096)  # of fewer, nothing is left before the last layer of some detectors
LONGEST = MAX_SAMPLES / SAMPLE_RATE  # seconds of a record
CLASS_WEIGHTS = Either((Choice(("none", "balanced", "effective_number")), Several(Number(0, 1e6, above=True), 2, 2)))
GAMMA = Number(0, 20)  # an undecided example has a slope of 2^-gamma: a little above, Adam's epsilon is larger
SCALE = Number(0, 1000, above=True)
SAMPLING = ("natural", "balanced", "balanced_methods", "balanced_domains", "sqrt", "undersample", "oversample", "auto")
RULE = "'mean', 'median' or 'top3' (or another number)"
CRITERIA = ("accuracy", "balanced_accuracy", "break_even", "eer", "f1", "mcc", "youden")  # those that need no number
RESAMPLERS = ("random_over", "random_under", "smote", "borderline_smote", "svm_smote", "adasyn")
RESAMPLERS += ("smote_enn", "smote_tomek")
ENCODERS = ("base", "large", "xlsr_300m", "xlsr_1b", "xlsr_2b")

# Meanings that several rows share
CUT = "length of the random cut of a clip"
WEIGHTS = "weights of (real, fake), or how they are made of the counts"

# Whose an option is
VITS = ("vit_base", "clip_base", "clip_large")  # which take pictures of one size
EFFICIENTNETS = ("efficientnet_b0", "efficientnet_b4")
CONVOLUTIONAL = ("cnn_small", "xception", *EFFICIENTNETS, "convnext_tiny")
WAV2VEC = ("wav2vec2", "wav2vec2_frozen")
SPECTRAL = ("texture", "resnet_small", "resnet18_mel")
STEPWISE = (*SPECTRAL, "lcnn")  # which take clips of any length, and learn by gradients
ANY_LENGTH = (*STEPWISE, "band_kernel")
MODALITIES = {
    "audio": (*ANY_LENGTH, "aasist", "rawnet2", *WAV2VEC),
    "image": (*CONVOLUTIONAL, *VITS),
    "av": ("two_stream",),
}
MODELS = tuple(name for names in MODALITIES.values() for name in names)
SOUND, PICTURE = ("audio", "av"), ("image", "av")
STREAMS = {"model.kwargs.picture_kwargs": "model.kwargs.picture", "model.kwargs.sound_kwargs": "model.kwargs.sound"}
CLASSES = ("weighted", "class_balanced")
ADJUSTED = ("logit_adjusted", "balanced_softmax")
CROSS_ENTROPIES = ("binary_cross_entropy", *CLASSES, "focal")
LOSSES = (*CROSS_ENTROPIES, *ADJUSTED, "ldam", "am_softmax", "oc_softmax")

OPTIONS = (
    Option("seed", Whole(0, 2**31 - 1), "seed of every draw; the same one gives the same run"),
    # data
    Option("data.dataset", Text("the name of a dataset", r".+"), "what is trained on, see data_builders/README.md"),
    Option("data.config_name", Text("a name"), "protocol or variant of the dataset; '' is its first"),
    Option("data.datasets", Rates(Number(0, 1e6)), "NAME or NAME/CONFIG: weight, to train on several at once", None),
    Option("data.leave_out", Group(), "what dfjax.crossval leaves out", None),
    Option(
        "data.leave_out.by", Choice(("domain", "method", "dataset")), "what tells the records that are left out", None
    ),
    Option("data.leave_out.value", Text("a name"), "the domain, method or dataset left out", None),
    Option("data.feed", Choice(("auto", "resident", "streaming")), "whole split on the device, or batches read ahead"),
    Option(
        "data.copies",
        Whole(1, 1000),
        "cuts of a clip whose statistics are kept; the last of several is not altered",
        ...,
        ("band_kernel",),
    ),
    Option("data.seconds", Number(0.1, LONGEST), CUT, ..., (*SPECTRAL, "band_kernel", *WAV2VEC)),
    Option("data.seconds", Number(0.15, LONGEST), CUT, ..., ("lcnn", "aasist")),
    Option("data.seconds", Number(0.21, LONGEST), CUT, ..., ("rawnet2",)),
    # augmentation
    Option("augment.self_fakes", PART, "share of the batch that is fakes made from real examples"),
    Option("augment.codec_rate", SHARE, "share of the clips through a lossy codec, on the host", 0.0, ("audio",)),
    Option("augment.trim_rate", SHARE, "share of the clips without silence at both ends", 0.0, ("audio",)),
    Option(
        "augment.speeds",
        Several(Number(0.5, 2), 1, 16),
        "factors by which clips are played faster",
        (0.9, 1.1),
        ("audio",),
    ),
    Option("augment.speed_rate", SHARE, "share of the clips played at one of `speeds`", 0.0, ("audio",)),
    Option("augment.silence_seconds", Number(0, LONGEST), "longest near silence before a clip", 0.0, SOUND),
    Option("augment.silence_rate", SHARE, "share of the clips that get silence", 0.5, SOUND),
    Option("augment.reverb_rate", SHARE, "share of the clips in a room", 0.0, SOUND),
    Option("augment.gain_db", Number(0, 60), "the gain is drawn within plus and minus this", 0.0, SOUND),
    Option(
        "augment.noise_db",
        Several(Number(-60, 120), 2, 2, True),
        "range of the signal-to-noise ratio",
        (0.0, 30.0),
        SOUND,
    ),
    Option("augment.noise_rate", SHARE, "share of the examples that get noise", 0.5),
    Option(
        "augment.rawboost_algorithm",
        Whole(0, 8),
        "algorithm of RawBoost, see dfjax/data/rawboost.py; 0 is off",
        0,
        SOUND,
    ),
    Option("augment.rawboost_rate", SHARE, "share of the clips that RawBoost changes", 1.0, SOUND),
    Option("augment.telephone_rate", SHARE, "share of the clips over a telephone line", 0.0, SOUND),
    Option("augment.mask_seconds", Number(0, LONGEST), "longest stretch silenced in each clip", 0.0, SOUND),
    Option("augment.mask_hertz", Number(0, SAMPLE_RATE / 2), "widest band silenced in each clip", 0.0, SOUND),
    Option("augment.size", Either((OFF, PIXELS)), "side of a random window; 0 takes all", 0, CONVOLUTIONAL),
    Option("augment.size_step", Whole(1, 4096), "grid of its corner; 8 keeps the blocks of JPEG", 1, PICTURE),
    Option("augment.flip_rate", SHARE, "share of the pictures that are mirrored", 0.5, PICTURE),
    Option("augment.degrees", Number(0, 180), "largest rotation of a picture", 0.0, PICTURE),
    Option("augment.zoom", Number(0, 0.9), "pictures are scaled by 1 plus or minus up to this", 0.0, PICTURE),
    Option("augment.shift", SHARE, "pictures are moved by up to this share of their side", 0.0, PICTURE),
    Option("augment.brightness", SHARE, "largest change of brightness, of the range", 0.0, PICTURE),
    Option("augment.contrast", SHARE, "contrast is scaled by 1 plus or minus up to this", 0.0, PICTURE),
    Option("augment.saturation", SHARE, "saturation is scaled by 1 plus or minus up to this", 0.0, PICTURE),
    Option("augment.tint", SHARE, "largest change of each colour, of the range", 0.0, PICTURE),
    Option("augment.blur_sigma", Number(0, 100), "widest blur in pixels", 0.0, PICTURE),
    Option("augment.blur_rate", SHARE, "share of the pictures that are blurred", 0.5, PICTURE),
    Option(
        "augment.factor", Number(1, 64), "largest factor by which a picture loses resolution; 1 is none", 1.0, PICTURE
    ),
    Option("augment.downscale_rate", SHARE, "share of the pictures that lose resolution", 0.5, PICTURE),
    Option("augment.noise_std", SHARE, "largest standard deviation of noise in a picture, of the range", 0.0, PICTURE),
    Option(
        "augment.jpeg_quality",
        Several(Number(1, 100), 2, 2, True),
        "range of the quality of JPEG",
        (60.0, 100.0),
        PICTURE,
    ),
    Option("augment.jpeg_rate", SHARE, "share of the pictures that are compressed", 0.0, PICTURE),
    Option("augment.cut_out_side", SHARE, "longest side of a grey rectangle, of the picture's", 0.0, PICTURE),
    Option("augment.cut_out_rate", SHARE, "share of the pictures that get a rectangle", 0.5, PICTURE),
    Option("augment.margin", Number(1, 10), "self-blending: side of a picture over the face's", 1.3, ("image",)),
    Option("augment.swap", SHARE, "self-blending: share that gets another's face", 0.0, ("image",)),
    Option("augment.colour", SHARE, "self-blending: largest difference in colour", 0.1, ("image",)),
    Option("augment.downscale", Number(1, 64), "self-blending: largest loss of resolution", 2.0, ("image",)),
    # detector
    Option("model.name", Choice(MODELS), "detector, see dfjax/models"),
    Option("model.weights", Text("a path, or ''"), "released weights to start from, but for the head", ""),
    # float16 is no choice: its gradients vanish without a scaled loss
    Option("model.dtype", Choice(("float32", "bfloat16")), "what training computes in; scores are float32", "float32"),
    Option("model.kwargs.embedding", WIDTH, "width of the embedding, a multiple of `members`", 64, ("texture",)),
    Option("model.kwargs.members", Whole(1, 1024), "networks whose mean is the detector", 8, ("texture",)),
    Option("model.kwargs.dropout", PART, "share of the statistics hidden in training", 0.5, ("texture",)),
    Option("model.kwargs.landmarks", WIDTH, "training clips that stand for all", 768, ("band_kernel",)),
    Option(
        "model.kwargs.width", Number(1e-3, 1e3), "width of the kernel, over the clips' spread", 1.0, ("band_kernel",)
    ),
    Option(
        "model.kwargs.kinds", Whole(1, 2), "logits: one, or one for stored and one for made fakes", 1, ("band_kernel",)
    ),
    Option(
        "model.kwargs.speeds",
        Several(Number(0.5, 2), 1, 16),
        "speeds whose mean statistics are a clip's",
        (1.0,),
        ("band_kernel",),
    ),
    Option(
        "model.kwargs.compared",
        Flag(),
        "each clip beside itself, built again from its magnitudes",
        False,
        ("band_kernel",),
    ),
    Option("model.kwargs.floored", Flag(), "bins without power count for nothing", False, ("band_kernel",)),
    Option("model.kwargs.lines", Flag(), "lines of upsampling count, see dfjax/features", False, ("band_kernel",)),
    Option("model.kwargs.levels", Flag(), "few levels of samples count beside lines", False, ("band_kernel",)),
    Option("model.kwargs.ridge", Number(1e-8, 1e3), "weight of the head's squared norm", 5e-5, ("band_kernel",)),
    Option("model.kwargs.bins", Whole(1, 160), "bands of the mel filter bank", 80, ("resnet_small",)),
    Option("model.kwargs.dims", Several(WIDTH, 1, 7), "widths of the blocks", (16, 32, 64, 96), ("resnet_small",)),
    Option("model.kwargs.embedding", WIDTH, "width of the embedding", 128, ("resnet_small",)),
    Option(
        "model.kwargs.masks",
        Several(Whole(0, 1000), 2, 2),
        "most frames and bins hidden in training",
        (0, 0),
        ("resnet_small",),
    ),
    Option("model.kwargs.dropout", PART, "share of the embedding hidden in training", 0.2, ("resnet_small",)),
    Option("model.kwargs.variant", Choice(("full", "light")), "AASIST or AASIST-L", "full", ("aasist",)),
    Option("model.kwargs.size", Choice(ENCODERS), "which encoder", "xlsr_300m", WAV2VEC),
    Option("model.kwargs.back_end", Choice(("mean", "aasist")), "what reads the encoder's frames", "mean", WAV2VEC),
    Option("model.kwargs.weighted", Flag(), "mix all layers, by learnt weights", False, WAV2VEC),
    Option("model.kwargs.dropout", PART, "share hidden inside the transformer where it is trained", 0.0, WAV2VEC),
    Option("model.kwargs.remat", Flag(), "compute again on the way back, to save memory", False, (*WAV2VEC, *VITS)),
    Option("model.kwargs.size", PIXELS, "side of the pictures", 128, ("cnn_small",)),
    Option("model.kwargs.window", Either((OFF, PIXELS)), "side of the centre seen; 0 sees all", 0, ("cnn_small",)),
    Option("model.kwargs.width", WIDTH, "width of the embedding", 64, ("cnn_small",)),
    Option("model.kwargs.dropout", PART, "share of the detail hidden in training", 0.3, ("cnn_small",)),
    Option("model.kwargs.dropout", PART, "share of the embedding hidden in training", 0.5, ("xception",)),
    Option(
        "model.kwargs.dropout",
        Either((NONE, PART)),
        "share of the embedding hidden in training; None as published",
        None,
        EFFICIENTNETS,
    ),
    Option(
        "model.kwargs.drop_path",
        PART,
        "share of the examples that skip the last block in training",
        0.1,
        ("convnext_tiny",),
    ),
    Option("model.kwargs.dropout", PART, "share of the embedding hidden in training", 0.0, ("convnext_tiny", *VITS)),
    Option("model.kwargs.size", Either((NONE, Whole(32, 1024))), "side of the pictures; None is 224", None, VITS),
    Option(
        "model.kwargs.picture", Choice(MODALITIES["image"]), "detector of the picture", "cnn_small", ("two_stream",)
    ),
    Option("model.kwargs.picture_kwargs", Group(), "model.kwargs of `picture`", None, ("two_stream",)),
    Option("model.kwargs.sound", Choice(STEPWISE), "detector of the sound", "resnet_small", ("two_stream",)),
    Option("model.kwargs.sound_kwargs", Group(), "model.kwargs of `sound`", None, ("two_stream",)),
    Option("model.kwargs.size", PIXELS, "side of the pictures that `picture` takes", 128, ("two_stream",)),
    Option("model.kwargs.joint", WIDTH, "products of the two embeddings", 32, ("two_stream",)),
    Option("model.kwargs.dropout", PART, "share of the fused embedding hidden in training", 0.2, ("two_stream",)),
    # loss
    Option("loss.name", Choice(LOSSES), "loss, see dfjax/training/losses.py"),
    Option("loss.uniformity", Number(0, 100), "weight of the embeddings' uniformity", 0.0, ("audio", "image")),
    Option("loss.alignment", Number(0, 100), "weight of the embeddings' alignment", 0.0, ("audio", "image")),
    Option("loss.kwargs.gamma", GAMMA, "focusing exponent; 0 is cross-entropy", ..., ("focal",)),
    Option("loss.kwargs.gamma", GAMMA, "focusing exponent; 0 is cross-entropy", 0.0, CLASSES),
    Option(
        "loss.kwargs.alpha",
        Either((NONE, Choice(("balanced",)), INSIDE)),
        "weight of fakes, reals have 1 - alpha; None weighs both 1",
        None,
        ("focal",),
    ),
    Option("loss.kwargs.label_smoothing", PART, "twice the share of wrong labels", 0.0, CROSS_ENTROPIES),
    Option("loss.kwargs.weights", CLASS_WEIGHTS, WEIGHTS, "balanced", ("weighted",)),
    Option("loss.kwargs.weights", CLASS_WEIGHTS, WEIGHTS, "effective_number", ("class_balanced",)),
    Option("loss.kwargs.weights", CLASS_WEIGHTS, WEIGHTS, "none", ("ldam",)),
    Option(
        "loss.kwargs.beta",
        PART,
        "of the weights 'effective_number', see dfjax/imbalance/balance.py",
        0.9999,
        (*CLASSES, "ldam"),
    ),
    Option("loss.kwargs.prior", INSIDE, "share of fakes; left out, that of the batches", None, ADJUSTED),
    Option("loss.kwargs.tau", Number(0, 10), "strength of the adjustment", 1.0, ADJUSTED),
    Option("loss.kwargs.max_margin", Number(0, 10), "margin of the smaller class", 0.5, ("ldam",)),
    Option(
        "loss.kwargs.margins",
        Several(Number(0, 10), 2, 2),
        "margins of (real, fake); left out, made of the counts",
        None,
        ("ldam",),
    ),
    Option("loss.kwargs.reweight_from", PART, "part of the run before `weights` apply", 0.0, ("ldam",)),
    Option("loss.kwargs.scale", SCALE, "factor of the logit", 1.0, ("ldam",)),
    Option("loss.kwargs.scale", SCALE, "factor of the cosine", 20.0, ("am_softmax", "oc_softmax")),
    Option("loss.kwargs.margin", Number(0, 2), "margin between the two cosines", 0.9, ("am_softmax",)),
    Option("loss.kwargs.margin_real", Number(-1, 1), "least cosine of reals to their direction", 0.9, ("oc_softmax",)),
    Option("loss.kwargs.margin_fake", Number(-1, 1), "largest cosine of fakes to that of reals", 0.2, ("oc_softmax",)),
    # imbalance
    Option(
        "balance.sampling", Either((Choice(SAMPLING), Rates(Number(0, 1e6)))), "how often a class or method is drawn"
    ),
    Option("balance.allow_stacking", Flag(), "allow more than one correction of the log-odds"),
    Option("balance.head", Choice(("", *RESAMPLERS)), "how dfjax.rebalance resamples embeddings; '' does not", ""),
    # optimiser
    Option("optim.optimizer", Choice(("adamw", "adam")), "'adam' puts the weight decay into the gradient", "adamw"),
    Option("optim.schedule", Choice(("cosine", "constant")), "course of the learning rate after the warm-up", "cosine"),
    Option("optim.learning_rate", Number(0, 1000, above=True), "largest learning rate, after the warm-up"),
    Option("optim.final_learning_rate", Number(0, 1000), "where the cosine ends, at most learning_rate", 0.0),
    Option("optim.warmup_steps", Whole(0, COUNT.high), "updates of the warm-up, fewer than train.steps", 0),
    Option("optim.weight_decay", Number(0, 1000), "an 'adamw' update takes learning_rate times this of a weight", 0.0),
    Option(
        "optim.clip_norm",
        Either((NONE, Number(0, 1e30, above=True))),
        "largest norm of a gradient; None does not clip",
        None,
    ),
    Option("optim.b1", DECAY, "decay of the first moment", 0.9),
    Option("optim.b2", DECAY, "decay of the second moment", 0.999),
    Option("optim.ema", DECAY, "decay of the mean of parameters that is scored; 0 scores the parameters"),
    Option("optim.swa", Flag(), "score the mean of the snapshots that are best on validation", False),
    # training
    Option("train.batch", Whole(1, 65_536), "examples per update"),
    Option("train.accumulate", Whole(1, 65_536), "equal parts of a batch, taken one after another", 1),
    Option("train.steps", COUNT, "updates of the run"),
    Option("train.eval_every", COUNT, "updates from one validation and checkpoint to the next"),
    Option("train.log_every", COUNT, "updates from one writing of metrics.jsonl to the next"),
    Option("train.fsdp", Flag(), "spread parameters and moments over the devices", False),
    # decision
    Option(
        "score.clip", Text(RULE, r"mean|median|top[1-9]\d{0,5}"), "a clip's score from its windows or frames", "mean"
    ),
    Option("decision.criterion", Choice(CRITERIA), "what the threshold is chosen for; dfjax.tune knows more"),
)
