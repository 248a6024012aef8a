r"""Does a detector that looks and listens find fakes of either kind, and say which part of a video is fake?

python -m dfjax.run --config experiments/fakeavceleb_av.py --source FAKEAVCELEB
python -m dfjax.run --config experiments/fakeavceleb_av.py:folder_av --source VIDEOS     # your own
python -m dfjax.evaluate --workdir runs/fakeavceleb_av --datasets fakeavceleb/people-av
python -m dfjax.predict --workdir runs/fakeavceleb_av --timeline plots --heatmap maps interview.mp4

A face crop and the second of sound around it go into two detectors side by side; the three heads, for the picture,
the sound and the whole, are trained together. Fake is what is fake in any part, 1:42 in the clips, drawn alike here.
The report's tables by `picture` and by `sound` show what of each kind is found, and predict prints the logits of
picture and sound beside its verdict. One frame and one second show no lips that move wrongly: a real voice put under
a real face is found only by what the re-encoding left. For videos of your own, metadata.csv says what picture and
sound are by themselves (data_builders/folder_av/README.md); unknown parts train only the head for the whole.

To stand beside: no published figure is known to us on a split by person; the dataset has no official one, and splits
by file put the same person on both sides. fakeavceleb_xception.py asks the same of the pictures alone.

Cost: FakeAVCeleb is prepared to 32 kB of sound beside every crop, 15,000 training clips of 32 frames. 18,000 steps of
64 with an Xception and a ResNet18 want an accelerator. Neither cost nor accuracy on FakeAVCeleb was measured. Videos
of your own get two small networks that train on a CPU.
"""

import ml_collections


def get_config(dataset: str = "fakeavceleb") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    # input
    config.data = ml_collections.ConfigDict()
    config.data.dataset = dataset or "fakeavceleb"
    large = config.data.dataset == "fakeavceleb"
    config.data.config_name = "disjoint-av" if large else ""  # no scene in two splits
    config.data.feed = "auto"
    # a second compression, a camera, a sloppy crop; a microphone
    config.augment = ml_collections.ConfigDict({"flip_rate": 0.5, "zoom": 0.05, "shift": 0.05})
    config.augment.update({"jpeg_quality": (60.0, 100.0), "jpeg_rate": 0.5 if large else 0.0})
    config.augment.update({"gain_db": 6.0, "noise_db": (5.0, 40.0)})
    config.augment.self_fakes = 0.0  # fakes made from real examples: none

    # model: a detector of images, one of sounds, and three heads
    streams = {"picture": "xception", "sound": "resnet18_mel", "size": 299}
    small = {"picture": "cnn_small", "sound": "resnet_small", "size": 128}
    config.model = ml_collections.ConfigDict({"name": "two_stream"})
    config.model.kwargs = ml_collections.ConfigDict(streams if large else small)
    config.model.kwargs.picture_kwargs = ml_collections.ConfigDict({"dropout": 0.5 if large else 0.3})
    config.model.kwargs.sound_kwargs = ml_collections.ConfigDict()

    # imbalance: 1:42 in the clips, 1:1 in the batch, and that alone
    config.loss = ml_collections.ConfigDict({"name": "binary_cross_entropy", "kwargs": {}})
    config.balance = ml_collections.ConfigDict({"sampling": "balanced", "allow_stacking": False})

    # optimiser
    config.optim = ml_collections.ConfigDict()
    config.optim.learning_rate = 2e-4 if large else 1e-3
    config.optim.warmup_steps = 500 if large else 40
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.optim.ema = 0.999 if large else 0.99
    config.train = ml_collections.ConfigDict()
    config.train.batch = 64 if large else 32
    config.train.steps = 18_000 if large else 400
    config.train.eval_every = 1_800 if large else 100
    config.train.log_every = 20

    # decision, after training
    config.score = ml_collections.ConfigDict({"clip": "mean"})  # over frames
    config.decision = ml_collections.ConfigDict({"criterion": "balanced_accuracy"})
    return config
