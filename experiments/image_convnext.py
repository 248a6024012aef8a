"""What does a large detector of generated portraits reach, trained from nothing on 100,000 pictures?

python -m dfjax.run --config experiments/image_convnext.py --source FACES_140K
python -m dfjax.run --config experiments/image_convnext.py:folder_image --source PICTURES

ConvNeXt-Tiny computes in bfloat16, and takes each batch in four parts, one after another: an update of 128 pictures
in the memory of 32. It is for a GPU or TPU; on a CPU start with image_focal.py.
"""

import ml_collections


def get_config(dataset: str = "faces_140k") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "faces_140k"
    config.data.config_name = ""  # "" takes the dataset's default protocol
    config.data.feed = "auto"
    # windows of 192 pixels; whole pictures, 224, are scored
    config.augment = ml_collections.ConfigDict({"size": 192, "flip_rate": 0.5})
    config.augment.self_fakes = 0.0  # fakes made from real faces: none

    # model
    config.model = ml_collections.ConfigDict({"name": "convnext_tiny"})
    config.model.dtype = "bfloat16"  # what training computes in; parameters, losses and scores are float32
    config.model.kwargs = ml_collections.ConfigDict({"drop_path": 0.1})

    # imbalance: equal shares of the batch, for pictures of your own; faces_140k has equal classes
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 1000
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.999
    config.train = ml_collections.ConfigDict()
    config.train.batch = 128
    config.train.accumulate = 4  # parts of a batch
    config.train.steps = 20_000
    config.train.eval_every = 1000
    config.train.log_every = 50

    # decision, after training
    config.decision = ml_collections.ConfigDict({"criterion": "f1"})
    return config
