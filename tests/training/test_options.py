"""Every number of an experiment is checked in one place: types, ranges, names, what is said and left behind."""

import inspect
import itertools
import json
import math
import pathlib
import subprocess
import sys

import ml_collections
import pytest
from flax import nnx

from dfjax import compare, models, rebalance
from dfjax.data import audio, augment_image, feeds, rawboost, self_blend, sources
from dfjax.decide import clip_score, thresholds
from dfjax.imbalance import balance, rates, smote
from dfjax.models import aasist, lcnn, rawnet2, wav2vec2
from dfjax.models.streams import Rngs
from dfjax.records import SAMPLE_RATE, InputError
from dfjax.run import command, main_job
from dfjax.runtime import cli
from dfjax.training import kinds, losses, optim, option_reference, option_table, options

pytestmark = pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections, which loads experiments

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = sorted(path for path in (ROOT / "experiments").glob("*.py") if path.name != "__init__.py")
EXPERIMENTS = {f"{path.stem}-{name}": make() for path in FILES for name, make in compare.load(str(path))}
LEAVES = {
    name: [option for option in options.flat(config) if option not in options.GROUPS]
    for name, config in EXPERIMENTS.items()
}
WRONG = [0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, 1e30, 10**12, 10**400]
WRONG += [None, True, "seven", "", [], {}, [7], ...]
TEXTURE = str(ROOT / "experiments" / "audio_texture.py")


def changed(config, name, value):
    """A copy of an experiment with another value of an option."""
    plain = config.to_dict()
    *groups, last = name.split(".")
    at = plain
    for group in groups:
        at = at[group]
    at[last] = value
    return ml_collections.ConfigDict(plain)


def refusal(config):
    """What is said against an experiment, None if nothing."""
    try:
        options.check(config)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        return str(error)
    return None


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_committed_experiments_pass_and_so_does_what_their_workdirs_hold(name):
    options.check(EXPERIMENTS[name])
    options.check(json.loads(EXPERIMENTS[name].to_json()))
    options.check(ml_collections.ConfigDict(json.loads(EXPERIMENTS[name].to_json())))
    assert all(options.rows(option) for option in LEAVES[name])


TRIED = set()  # (row, value) of all experiments so far


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_zero_negative_nan_infinite_huge_and_of_the_wrong_type(name, monkeypatch):
    """Each is refused in one line that names option and range, or all but the network can be built of it."""
    config = rebalance.without_head(EXPERIMENTS[name])
    monkeypatch.setattr(nnx, "eval_shape", lambda build: None)  # see test_edges_can_be_built
    monkeypatch.setattr(main_job.pretrained, "check", lambda name, path: None)
    monkeypatch.setattr(main_job.data_builders, "load", lambda name: None)
    assert len(LEAVES[name]) > 20
    given = options.flat(config)
    for option, value in itertools.product(LEAVES[name], WRONG):
        tried = repr((options.row_of(option, given), value))  # all that the answer depends on
        if tried in TRIED:
            continue
        TRIED.add(tried)
        other = changed(config, option, value)
        said = refusal(other)
        if said is not None:
            assert said.startswith(f"config.{option}=") and ": expected " in said, said
            continue
        assert not isinstance(value, float) or math.isfinite(value), f"{option}={value}"
        assert value != 10**400 and value is not ..., f"{option}={value}"
        if isinstance(given[option], float) and isinstance(value, int):
            continue  # annotations, which tests enforce, say float; 0.0 is tried too
        try:
            main_job.check(other)
        except InputError as error:
            assert "\n" not in str(error)


def edges(kind):
    """The outermost values of a kind, and values just outside."""
    match kind:
        case kinds.Whole():
            return [kind.low, kind.high], [kind.low - 1, kind.high + 1, kind.low + 0.5]
        case kinds.Number():
            low, high = float(kind.low), float(kind.high)
            below, above = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
            inside = [
                math.nextafter(low, high) if kind.above else low,
                math.nextafter(high, low) if kind.below else high,
            ]
            return inside, [low if kind.above else below, high if kind.below else above]
        case kinds.Flag():
            return [True, False], [0, 1, "True", None]
        case kinds.Choice():
            return list(kind.values), [f"{kind.values[0]}x", object(), math.nan]
        case kinds.Several():
            inside, outside = edges(kind.item)
            fine = [(value,) * count for value in inside for count in (kind.least, kind.most)]
            bad = [(value,) * kind.least for value in outside] + [
                inside[:1] * (kind.most + 1),
                inside[:1] * (kind.least - 1),
            ]
            return fine, bad + ([tuple(inside[::-1])] if kind.rising else [])
        case kinds.Rates():
            inside, outside = edges(kind.item)
            bad = [{"real": value} for value in outside] + [{}, {"real": 0.0}, {3: 1.0}, []]
            return [{"real": inside[1], "fake": value} for value in inside], bad
        case kinds.Either():
            inside = [value for part in kind.kinds for value in edges(part)[0]]
            return inside, [value for part in kind.kinds for value in edges(part)[1] if not kind.takes(value)]
        case kinds.Group():
            return [None], [0, "", []]
        case kinds.Text():
            return [], [0, None, b""]
    raise AssertionError(kind)


@pytest.mark.parametrize("row", option_table.OPTIONS, ids=lambda row: f"{row.name}-{'-'.join(row.of)}")
def test_a_range_ends_where_it_says(row):
    inside, outside = edges(row.kind)
    for value in inside:
        assert row.kind.takes(value), value
        text = "None" if value is None else str(value)
        assert row.kind.takes(row.kind.read(text)) or isinstance(row.kind, kinds.Group), text
    for value in [*outside, math.nan, object(), 1j]:
        assert not row.kind.takes(value), value
    assert row.default is ... or row.default is None or row.kind.takes(row.default)
    assert str(row.kind) and "object at" not in str(row.kind) and row.meaning


CHEAP = ("texture", "resnet_small", "cnn_small", "two_stream")
BUILDABLE = [row for row in option_table.OPTIONS if row.name.startswith("model.kwargs.") and set(row.of) & set(CHEAP)]


@pytest.mark.parametrize("row", BUILDABLE, ids=lambda row: f"{row.name}-{'-'.join(row.of)}")
def test_edges_can_be_built(row):
    """Shapes alone; what does not fit the rest of the detector is one line."""
    name = next(name for name in CHEAP if name in row.of)
    for value in edges(row.kind)[0]:
        words = {row.name.removeprefix("model.kwargs."): value}
        if words.get("members", 1) > 1:
            words["embedding"] = value
        try:
            nnx.eval_shape(lambda words=words: models.build(name, rngs=Rngs(0), **words))
        except InputError as error:
            assert "multiple of members" in str(error) or "stream" in str(error), error


EXAMPLES = {  # as tried by a new user -> what is said
    "train.batch=0": "config.train.batch=0: expected a whole number from 1 to 65536 (examples per update)",
    "train.batch=-5": "config.train.batch=-5: expected a whole number from 1 to 65536",
    "train.batch=many": "config.train.batch='many': expected a whole number from 1 to 65536",
    "data.seconds=0": "config.data.seconds=0.0: expected a number from 0.1 to 4.0375",
    "data.seconds=1e9": "config.data.seconds=1000000000.0: expected a number from 0.1 to 4.0375",
    "loss.kwargs.gamma=-1": "config.loss.kwargs.gamma=-1.0: expected a number from 0 to 20",
    "train.eval_every=0": "config.train.eval_every=0: expected a whole number from 1 to",
    "optim.ema=2": "config.optim.ema=2.0: expected a number from 0 to 0.999999",
    "optim.learning_rate=nan": "config.optim.learning_rate=nan: expected a number above 0 to 1000",
    "model.kwargs.dropout=1.5": "config.model.kwargs.dropout=1.5: expected a number from 0 to below 1",
    "nope=1": "config.nope is no option; did you mean config.",
    "train.stepz=1": "config.train.stepz is no option; did you mean config.train.steps?",
    "model.kwargs.window=64": "config.model.kwargs.window is an option of cnn_small; this experiment has texture",
    "loss.kwargs.tau=1": "config.loss.kwargs.tau is an option of logit_adjusted, balanced_softmax; this experiment has "
    "focal",
    "augment.jpeg_rate=1": "config.augment.jpeg_rate is an option of image, av; this experiment has texture",
    "train=3": "config.train=3: expected a group of options",
    "loss.kwargs={}": "config.loss.kwargs.gamma is missing: expected a number from 0 to 20",
    "score.clip=top0": "config.score.clip='top0': expected 'mean', 'median' or 'top3'",
    "decision.criterion=cost": "config.decision.criterion='cost': expected one of 'accuracy'",
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_wrong_option_is_one_line_and_exit_code_2(example, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(lambda: command.parse(["run", "--config", TEXTURE, f"--config.{example}"], command))
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"error: {EXAMPLES[example]}"), said


@pytest.mark.parametrize(
    ("name", "value"), [("train.batch", 0), ("optim.ema", 2), ("train.log_every", math.nan), ("x", 1)]
)
@pytest.mark.parametrize("command", ["run", "compare", "rebalance"])
def test_a_wrong_option_leaves_nothing_behind(command, name, value, tmp_path):
    config = changed(EXPERIMENTS["imbalance_study-smote_head"], name, value)
    call = {
        "run": lambda: main_job.run(rebalance.without_head(config), tmp_path / "w", name="x", data_dir=tmp_path / "d"),
        "compare": lambda: compare.compare({"a": config}, 1, tmp_path / "w", data_dir=tmp_path / "d"),
        "rebalance": lambda: rebalance.finish(config, tmp_path / "w", name="x", data_dir=tmp_path / "d"),
    }
    with pytest.raises(InputError, match=f"config.{name}"):
        call[command]()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.accumulate": 5}, "config.train.accumulate=5 must divide config.train.batch=64"),
        ({"optim.warmup_steps": 400}, "warmup_steps must be in"),
        ({"optim.final_learning_rate": 1.0}, "need 0 <= final <= learning_rate"),
        (
            {"optim.schedule": "constant", "optim.final_learning_rate": 1e-6},
            "config.optim.final_learning_rate=1e-06 is where the cosine ends; set it to 0, or config.optim.schedule",
        ),
        ({"optim.swa": True}, "config.optim.ema and config.optim.swa are two averages"),
        (
            {"optim.swa": True, "train.eval_every": 401},
            "config.train.eval_every=401: expected at most config.train.steps=400",
        ),
        ({"augment.self_fakes": 0.001}, "config.augment.self_fakes=0.001 of batches of 64"),
        ({"augment.codec_rate": 0.5, "data.feed": "resident"}, "use config.data.feed='streaming'"),
        ({"data.copies": 2}, "config.data.copies is an option of band_kernel; this experiment has texture"),
        ({"data.leave_out": {"by": "method"}}, "config.data.leave_out: expected both"),
        ({"loss.uniformity": 0.5}, "set config.model.kwargs.members=1"),
        ({"loss.uniformity": 0.5, "model.kwargs.members": 1, "train.batch": 1}, "is of pairs of embeddings; expected"),
        (
            {"loss.uniformity": 0.5, "model.kwargs.members": 1, "train.accumulate": 64},
            "expected a config.train.batch, over config.train.accumulate if given, of 2 or more",
        ),
        ({"model.kwargs.members": 7}, "embedding=64; expected a multiple of members=7"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(changes, message):
    config = EXPERIMENTS["audio_texture-audio_texture"]
    for name, value in changes.items():
        config = changed(config, name, value)
    with pytest.raises(InputError, match=message):
        main_job.check(config)


def test_kept_statistics_are_not_streamed():
    config = changed(EXPERIMENTS["audio_focal-audio_focal"], "data.feed", "streaming")
    with pytest.raises(
        InputError, match="config.data.copies=1 keeps the split on the device; use config.data.feed='auto'"
    ):
        main_job.check(config)


@pytest.mark.parametrize("name", options.GRADIENT_ALONE)
def test_what_newton_steps_do_not_do_is_refused_and_not_passed_over(name):
    given = {"model.dtype": "bfloat16", "optim.swa": True, "train.accumulate": 2, "train.fsdp": True}.get(name, 0.9)
    config = EXPERIMENTS["audio_focal-audio_focal"]
    assert config.model.name == "band_kernel" and hasattr(models.model_class("band_kernel"), "newton")
    with pytest.raises(InputError, match=f"config.{name}={given!r}: band_kernel learns by Newton steps"):
        main_job.check(changed(config, name, given))
    for nothing in (options.GRADIENT_ALONE[name], options.rows(name)[0].default):
        if nothing is not ...:
            assert refusal(changed(config, name, nothing)) is None


def test_a_logit_for_made_fakes_needs_made_fakes():
    config = changed(EXPERIMENTS["audio_sources-audio_sources"], "augment.self_fakes", 0.0)
    with pytest.raises(InputError, match="kinds=2: the second logit learns from fakes made by the run"):
        main_job.check(config)


def test_a_window_is_no_larger_than_the_pictures():
    config = changed(EXPERIMENTS["image_focal-image_focal"], "augment.size", 129)
    with pytest.raises(InputError, match="config.augment.size=129: expected at most the side of the pictures, 128"):
        main_job.check(config)


def test_an_option_without_a_default_is_missed():
    for name in ("train.batch", "model.kwargs", "data.seconds"):
        config = json.loads(EXPERIMENTS["audio_texture-audio_texture"].to_json())
        group, last = name.split(".")
        del config[group][last]
        assert refusal(config).startswith(f"config.{name} is missing: expected")
    assert "config.model.name is missing" in refusal({})


# The command line


def overridden(*words, config=TEXTURE):
    return command.parse(["run", "--config", config, *words], command)[0]


def test_words_become_values_of_the_options_type():
    words = ["--config.train.steps=2_000", "--config.optim.learning_rate=1e-2", "--config.augment.noise_db=(0,20)"]
    words += ["--config.balance.allow_stacking", "--config.balance.sampling={'real': 3, 'fake/x': 1}"]
    config = overridden(*words, "--config.seed", "7")
    assert (config.train.steps, config.optim.learning_rate, config.seed) == (2000, 0.01, 7)
    assert config.augment.noise_db == (0, 20) and config.balance.allow_stacking is True
    assert config.balance.sampling.to_dict() == {"real": 3, "fake/x": 1}
    assert (
        overridden("--config.balance.allow_stacking", "--noconfig.balance.allow_stacking").balance.allow_stacking
        is False
    )


def test_options_that_the_file_leaves_out_can_be_given():
    words = ["--config.train.accumulate=2", "--config.score.clip=top3"]
    config = overridden(*words, "--config.train.fsdp=true", "--config.optim.clip_norm=None")
    assert config.train.accumulate == 2 and config.score.clip == "top3" and config.train.fsdp is True
    assert config.optim.clip_norm is None
    assert config.is_locked


def test_a_group_can_be_replaced_and_its_options_follow_the_detector():
    config = overridden("--config.loss.name=oc_softmax", "--config.loss.kwargs={'scale': 10.0}")
    assert config.loss.to_dict() == {"name": "oc_softmax", "kwargs": {"scale": 10.0}}
    config = overridden("--config.loss.name=binary_cross_entropy", "--config.loss.kwargs={}")
    assert config.loss.kwargs.to_dict() == {}
    study = str(ROOT / "experiments" / "sampling_study.py")
    assert overridden("--config.balance.sampling.real=2", config=f"{study}:rates").balance.sampling.real == 2.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.train.batch"], "expected --config.train.batch=VALUE"),
        (["--noconfig.train.batch"], "expected --config.train.batch=VALUE"),
        (["--config.seed.more=1"], "config.seed.more is no option"),
        (["--config.balance.sampling.real=2"], "config.balance.sampling is 'balanced', no group"),
        (["--config.balance.sampling={'real': 1, 'fake/sd1.5': 2}"], "expected names that are text without a dot"),
        (["--config.balance.sampling={'real': 1, None: 2}"], "expected names that are text without a dot"),
    ],
)
def test_words_that_set_nothing_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        overridden(*words)


def test_a_file_that_fails_is_one_line(tmp_path):
    (tmp_path / "bad.py").write_text("def get_config():\n    raise ValueError('no such arm')\n")
    with pytest.raises(InputError, match="cannot read the command line: ValueError: no such arm$"):
        overridden(config=str(tmp_path / "bad.py"))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("batch", "train.batch"),
        ("gama", "loss.kwargs.gamma"),
        ("data.second", "data.seconds"),
        ("model.kwargs.picture_kwargs.dropuot", "model.kwargs.picture_kwargs.dropout"),
        ("dropout", "model.kwargs.dropout"),
    ],
)
def test_an_unknown_option_names_the_nearest(name, nearest):
    assert str(options.unknown(name)) == f"config.{name} is no option; did you mean config.{nearest}?"


# The table and the code


def keywords(function, *without):
    """Keyword -> default of a function; '...' where there is none."""
    found = inspect.signature(function).parameters.values()
    found = {p.name: ... if p.default is p.empty else p.default for p in found if p.kind is p.KEYWORD_ONLY}
    return {name: default for name, default in found.items() if name not in without}


def table(prefix, *of):
    """Last part of the name -> default of the rows below a prefix that belong to one of `of`, or to all."""
    rows = [
        row
        for row in option_table.OPTIONS
        if row.name.startswith(f"{prefix}.") and (not row.of or set(of) & set(row.of))
    ]
    return {row.name.removeprefix(f"{prefix}."): row.default for row in rows}


@pytest.mark.parametrize("name", models.MODELS)
def test_the_table_has_the_arguments_of_every_detector(name):
    assert table("model.kwargs", name) == keywords(models.model_class(name).__init__, "rngs", "dtype", "bias")
    assert models.model_class(name).modality == next(m for m, names in option_table.MODALITIES.items() if name in names)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_table_has_the_arguments_of_every_loss(name):
    planned = {"prior": None, "margins": None} if name in ("logit_adjusted", "balanced_softmax", "ldam") else {}
    if name in ("weighted", "class_balanced", "ldam"):
        weights = {"weighted": "balanced", "class_balanced": "effective_number", "ldam": "none"}[name]
        planned |= {"weights": weights, "beta": keywords(balance.class_weights)["beta"]}
    if name == "ldam":
        planned |= {"max_margin": keywords(balance.ldam_margins)["max_margin"], "reweight_from": 0.0}
    own = keywords(losses.LOSSES[name])
    planned = {k: v for k, v in planned.items() if k in own or k in ("beta", "max_margin", "reweight_from")}
    assert table("loss.kwargs", name) == own | planned


def test_the_table_has_all_augmentations():
    sounds, pictures = keywords(audio.augment), keywords(augment_image.augment)
    sound = {"self_fakes": ..., "codec_rate": 0.0} | keywords(audio.take) | sounds
    assert table("augment", "audio") == sound
    picture = {"self_fakes": ...} | keywords(self_blend.blend) | pictures
    assert table("augment", "image", "cnn_small") == picture
    assert table("augment", "av", "cnn_small") == {"self_fakes": ...} | sounds | pictures


def test_the_table_has_the_arguments_of_the_optimiser():
    own = keywords(optim.build, "total_steps", "trainable")
    assert table("optim") == own | {"ema": ..., "swa": False}


def test_every_row_is_used_or_may_be_left_out_and_is_read():
    used = {option for leaves in LEAVES.values() for option in leaves}
    code = "\n".join(path.read_text() for path in (ROOT / "dfjax").rglob("*.py") if path.name != "option_table.py")
    for row in option_table.OPTIONS:
        last = row.name.rpartition(".")[2]
        assert row.name in used or row.default is not ..., row
        assert f"{last}:" in code or f'"{last}"' in code or f".{last}" in code, row


def test_choices_are_those_of_the_code():
    def of(name, *owner):
        kind = next(row.kind for row in options.rows(name) if not owner or set(owner) & set(row.of))
        return set(next(part.values for part in getattr(kind, "kinds", [kind]) if isinstance(part, kinds.Choice)))

    assert of("model.name") == set(models.MODELS) and of("loss.name") == set(losses.LOSSES)
    assert of("data.feed") == set(feeds.FEEDS) and of("data.leave_out.by") == set(sources.BY)
    assert of("balance.head") == {"", *smote.METHODS} and of("balance.sampling") == {*rates.MODES, "auto"}
    assert of("decision.criterion") == {name for name, rule in thresholds.CRITERIA.items() if not rule.parameters}
    assert of("loss.kwargs.weights") == set(balance.SCHEMES)
    assert of("model.kwargs.size", "wav2vec2") == set(wav2vec2.SIZES)
    assert of("model.kwargs.variant") == set(aasist.CHANNELS)
    (algorithm,) = options.rows("augment.rawboost_algorithm")
    assert {*range(algorithm.kind.low, algorithm.kind.high + 1)} == {0, *rawboost.ALGORITHMS}
    for rule, known in (
        dict.fromkeys(("mean", "median", "top1", "top30"), True) | {"top0": False, "most": False}
    ).items():
        assert options.rows("score.clip")[0].kind.takes(rule) is known is bool(clip_score.RULES.fullmatch(rule))
    heard = {name: models.model_class(name) for name in option_table.MODALITIES["audio"]}
    streams = {name for name, cls in heard.items() if not hasattr(cls, "samples") and not hasattr(cls, "newton")}
    assert of("model.kwargs.sound") == streams


@pytest.mark.parametrize("module", [aasist, rawnet2, lcnn, wav2vec2])
def test_cuts_are_as_long_as_a_detector_needs(module):
    name, shortest = module.__name__.rpartition(".")[2], module.SHORTEST
    (row,) = (row for row in options.rows("data.seconds") if name in row.of)
    assert row.kind.low * SAMPLE_RATE >= shortest


# What people read


def test_help_names_all_options_in_lines_that_fit():
    text = option_reference.help_text(80)
    assert all(f"{row.name}" in text for row in option_table.OPTIONS)
    assert max(map(len, text.splitlines())) <= 80


def test_help_is_printed(capsys):
    with pytest.raises(SystemExit) as left:
        command.parse(["run", "--help"], command)
    said = capsys.readouterr().out
    assert left.value.code == 0 and "--workdir" in said and "train.batch: a whole number from 1 to 65536" in said


def test_the_reference_in_the_readme_is_up_to_date():
    path = ROOT / "experiments" / "README.md"
    text = path.read_text()
    assert text == option_reference.with_reference(text), (
        f"python -m dfjax.training.option_reference {path.relative_to(ROOT)}"
    )
    assert option_reference.with_reference("# A page\n").startswith("# A page\n\n<!-- options -->\n**Draws**")
    tables = [line for line in option_reference.reference().splitlines() if line.startswith("| ")]
    assert len(tables) == len(option_table.OPTIONS) + len(option_reference.TITLES) and {
        line.count("| ") for line in tables
    } == {5}


def test_the_command_brings_it_up_to_date(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- options -->\nold\n<!-- /options -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["options", str(page)])
    option_reference.main()
    assert page.read_text() == f"before\n<!-- options -->\n{option_reference.reference()}<!-- /options -->\nafter\n"
    monkeypatch.setattr(sys, "argv", ["options"])
    option_reference.main()
    assert capsys.readouterr().out == option_reference.reference() + "\n"


def test_neither_jax_nor_numpy_is_needed_for_help():
    code = "import sys; from dfjax.training import option_reference, options; option_reference.help_text()"
    code += "; sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
