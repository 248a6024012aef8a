"""Does focal loss with class-weighted resampling find blended faces at 10:1?

python -m dfjax.run --config experiments/image_focal.py                                  # embedded demo corpus
python -m dfjax.run --config experiments/image_focal.py:folder_image --source PICTURES   # your own

Pictures of your own are cut to the largest face; with --config.data.config_name=folder they are taken as they are.
"""

import ml_collections


def get_config(dataset: str = "demo_faces") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "demo_faces"
    # "" takes the dataset's default protocol
    config.data.config_name = "folder-crops" if dataset == "folder_image" else ""
    config.data.feed = "auto"
    # little: the traces of a blend are weaker than most augmentation
    config.augment = ml_collections.ConfigDict({"brightness": 0.1, "contrast": 0.1, "saturation": 0.1})
    config.augment.self_fakes = 0.0  # fakes made from real faces: none

    # model
    config.model = ml_collections.ConfigDict({"name": "cnn_small"})
    config.model.kwargs = ml_collections.ConfigDict({"dropout": 0.2})

    # imbalance: one measure in the loss, one in the batch; only the second shifts the log-odds
    config.loss = ml_collections.ConfigDict({"name": "focal", "kwargs": {"gamma": 2.0}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 2e-3
    config.optim.warmup_steps = 40
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.99
    config.train = ml_collections.ConfigDict()
    config.train.batch = 32
    config.train.steps = 600
    config.train.eval_every = 150
    config.train.log_every = 20

    # decision, after training
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
