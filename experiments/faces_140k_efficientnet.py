"""Does a detector of StyleGAN's faces outlive JPEG, blur and scaling?

python -m dfjax.run --config experiments/faces_140k_efficientnet.py --source FACES_140K
python -m dfjax.evaluate --workdir runs/faces_140k_efficientnet --datasets deepfake_image_detection

140k Real and Fake Faces is balanced everywhere and comes from one generator and one collection of photographs, so
that it says nothing about imbalance and little about other fakes; it is a source of faces, and a check that a
pipeline learns at all. Half of the pictures are compressed, blurred or scaled in training, so that the detector does
not rest on the generator's finest pattern alone. The second command looks at pictures from elsewhere, prepared
before.

To stand beside: no figure of a paper on these folders is known to us. A high one proves little: detectors lost 45 to
50 % of their AUC on what social media carried in 2024 (arXiv 2503.02857). It starts from random numbers, or with
--config.model.weights=FILE from ImageNet (timm's tf_efficientnet_b0.ns_jft_in1k).

Cost: 100,000 pictures an epoch, three of them, EfficientNet-B0 at 224 pixels; 4.0 M parameters, chosen for machines
without a GPU. Not measured, and no rate to estimate it from.
"""

import ml_collections


def get_config(dataset: str = "faces_140k") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "faces_140k"
    config.data.config_name = ""  # the published folders
    config.data.feed = "auto"
    # what a network of people does to pictures
    config.augment = ml_collections.ConfigDict({"flip_rate": 0.5, "blur_sigma": 1.5, "factor": 2.0})
    config.augment.update({"jpeg_quality": (50.0, 100.0), "jpeg_rate": 0.5, "noise_std": 0.02})
    config.augment.self_fakes = 0.0  # fakes made from real faces: none

    # model
    config.model = ml_collections.ConfigDict({"name": "efficientnet_b0"})
    config.model.weights = ""  # a file of released weights to start from, but for the head
    config.model.kwargs = ml_collections.ConfigDict({"dropout": 0.2})

    # imbalance: none, and so nothing against it
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.balance = ml_collections.ConfigDict({"sampling": "natural", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 300
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.999
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64
    config.train.steps = 4_700  # three epochs
    config.train.eval_every = 470
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # of one picture: itself
    config.decision = ml_collections.ConfigDict({"criterion": "balanced_accuracy"})
    return config
