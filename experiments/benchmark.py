r"""What does a remedy for imbalance change on each dataset, and does what was learnt on one hold on the others?

python -m dfjax.benchmark --root DATASETS --workdir runs/benchmark                     # all of these experiments
python -m dfjax.run --config experiments/benchmark.py:audio+wavefake+balanced_sampling --source WAVEFAKE

The argument is MODALITY+DATASET[,DATASET...]+STRATEGY: audio, image (pictures as they are), video (face crops) or av;
a dataset is NAME or NAME/CONFIG, and several are trained on together. All datasets of a modality get the same small
network, steps and optimiser, those of audio_texture.py, image_focal.py and fakeavceleb_av.py:folder_av, so that their
figures stand beside each other and a CPU is enough; the experiments of single datasets are the better detectors.
"""

import ml_collections

PLAIN = {"loss": "binary_cross_entropy", "kwargs": {}, "sampling": "natural", "allow_stacking": False}
STRATEGIES = {
    "plain": {},
    "balanced_sampling": {"sampling": "balanced"},
    "class_weights": {"loss": "weighted", "kwargs": {"weights": "balanced"}},
    "focal": {"loss": "focal", "kwargs": {"gamma": 2.0}},
    "weighted_focal": {"loss": "focal", "kwargs": {"gamma": 2.0, "alpha": "balanced"}},
    "both": {
        "loss": "focal",
        "kwargs": {"gamma": 2.0, "alpha": "balanced"},
        "sampling": "balanced",
        "allow_stacking": True,
    },
    "effective_number": {"loss": "class_balanced", "kwargs": {"beta": 0.999}},
    "logit_adjusted": {"loss": "logit_adjusted", "kwargs": {"tau": 1.0}},
}
MODALITIES = ("audio", "image", "video", "av")


def get_config(argument: str = "audio+demo_speech+plain") -> ml_collections.ConfigDict:
    modality, _, rest = argument.partition("+")
    names, _, strategy = rest.rpartition("+")
    names = names.split(",")
    if modality not in MODALITIES or strategy not in STRATEGIES or not all(names):
        raise ValueError(
            f"expected MODALITY+DATASET[,DATASET...]+STRATEGY, of {list(MODALITIES)} and {list(STRATEGIES)}, "
            f"got {argument!r}"
        )
    words = PLAIN | STRATEGIES[strategy]
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset, _, config.data.config_name = names[0].partition("/")
    if len(names) > 1:
        config.data.dataset, config.data.config_name = f"all_{modality}", ""
        config.data.datasets = dict.fromkeys(names, 1.0)
    config.data.feed = "auto"
    config.augment = ml_collections.ConfigDict({"self_fakes": 0.0})
    if modality == "audio":
        config.data.seconds = 2.0  # random cut of each clip
        config.augment.update({"gain_db": 6.0, "noise_db": (-5.0, 30.0)})
    elif modality == "av":
        config.augment.update({"flip_rate": 0.5, "zoom": 0.05, "shift": 0.05, "gain_db": 6.0, "noise_db": (5.0, 40.0)})
    else:
        config.augment.update({"size": 112, "size_step": 8, "flip_rate": 0.5})

    # model
    config.model = ml_collections.ConfigDict({"name": "texture"})
    config.model.kwargs = ml_collections.ConfigDict({"embedding": 64, "members": 8, "dropout": 0.5})
    if modality == "av":
        config.model.name = "two_stream"
        config.model.kwargs = ml_collections.ConfigDict({"picture": "cnn_small", "sound": "resnet_small", "size": 128})
        config.model.kwargs.picture_kwargs = ml_collections.ConfigDict({"dropout": 0.3})
        config.model.kwargs.sound_kwargs = ml_collections.ConfigDict()
    elif modality != "audio":
        config.model.name = "cnn_small"
        config.model.kwargs = ml_collections.ConfigDict({"size": 128, "window": 112, "dropout": 0.3})

    # imbalance
    config.loss = ml_collections.ConfigDict({"name": words["loss"], "kwargs": words["kwargs"]})
    config.balance = ml_collections.ConfigDict({name: words[name] for name in ("sampling", "allow_stacking")})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = {"audio": 1e-3, "av": 1e-3}.get(modality, 3e-3)
    config.optim.warmup_steps = 40
    config.optim.weight_decay = {"audio": 5.0}.get(modality, 0.05)  # a step takes learning_rate x this of a weight
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.99
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64 if modality == "audio" else 32
    config.train.steps = 400
    config.train.eval_every = 100
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # over windows or frames
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
