"""Does a detector of blended faces hold on photographs and kinds of blending that it has never seen?

python -m dfjax.crossval --config experiments/image_sources.py:folder_image --source PICTURES --by domain
python -m dfjax.run --config experiments/image_sources.py

Half of the fakes of a batch are stored ones, half are real faces of the training split, blended with a changed copy of
themselves (Shiohara and Yamasaki, CVPR 2022). Stored fakes teach their kind, blended ones what all kinds have in
common. All pictures are compressed once more, since a blend would otherwise lack the block grid that the files have.
"""

import ml_collections


def get_config(dataset: str = "demo_faces") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "demo_faces"
    config.data.config_name = ""  # "" takes the dataset's default protocol: pictures as they are
    config.data.feed = "auto"
    size, window = (512, 448) if dataset == "folder_image" else (128, 112)
    # other places of the cut, and nothing that touches the detail but one more compression, mild, for both classes
    config.augment = ml_collections.ConfigDict({"size": window, "size_step": 8, "flip_rate": 0.5})
    config.augment.update({"jpeg_quality": (93.0, 97.0), "jpeg_rate": 1.0})
    config.augment.self_fakes = 0.25  # of the batch: half of its fakes
    # side of a picture over that of its face
    config.augment.margin = 1.8 if dataset == "folder_image" else 1.3

    # model
    config.model = ml_collections.ConfigDict({"name": "cnn_small"})
    config.model.kwargs = ml_collections.ConfigDict({"size": size, "window": window, "dropout": 0.3})

    # imbalance: one measure in the loss, one in the batch; only the second shifts the log-odds
    config.loss = ml_collections.ConfigDict({"name": "focal", "kwargs": {"gamma": 2.0}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 3e-3
    config.optim.warmup_steps = 40
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.99
    config.train = ml_collections.ConfigDict()
    config.train.batch = 32
    config.train.steps = 400
    config.train.eval_every = 100
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # over the frames of a video
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
