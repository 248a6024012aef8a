"""Judging many files against judging one at a time: python -m tests.benchmarks.predict [files, default 10,000].

Clips of three seconds, the detector that comes with the package. `one at a time` is what dfjax.predict did before it
worked across files: decode, score and embed one file in a batch of padding. `decoding alone` is the worker processes
with nobody scoring, `scoring alone` all that is left when the files are in memory already. The four alternate in one
process and their medians are compared: rates, and the processor time a file, which other programs disturb less.
Expected: at least 15 times the first, at least 0.7 of the slower of the others; memory flat.
"""

import itertools
import pathlib
import resource
import statistics
import sys
import tempfile
import time

from dfjax.runtime import process

process.use_all_cores()

import jax
import numpy as np
import soundfile

from dfjax import inference
from dfjax.decide import typicality
from dfjax.inference import bundle, detector, scorers, scoring, trained, verdict
from dfjax.media import audio, evidence, properties
from dfjax.records import SAMPLE_RATE
from dfjax.runtime import devices, workers
from tests.benchmarks import rows

ROUNDS = 3
DISTINCT = 400  # files; the rest are links to them
ALONE = 32  # files of the slow way, a round


def clips(folder: pathlib.Path, count: int) -> list[str]:
    """Names of so many files of voiced noise with pauses."""
    rng, time_ = np.random.default_rng(0), np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    for k in range(count):
        path = folder / f"{k:06}.flac"
        if k >= DISTINCT:
            path.hardlink_to(folder / f"{k % DISTINCT:06}.flac")
            continue
        pitch = np.cumsum(rng.uniform(80, 250) * (1 + 0.1 * np.sin(2 * np.pi * 3 * time_))) / SAMPLE_RATE
        voice = sum(np.sin(2 * np.pi * n * pitch) / n for n in range(1, 20)) * (1 + np.sin(2 * np.pi * 4 * time_))
        soundfile.write(path, 0.1 * voice + 0.003 * rng.standard_normal(len(voice)), SAMPLE_RATE)
    return [str(folder / f"{k:06}.flac") for k in range(count)]


def processor() -> float:
    """Seconds of all cores that this process and its dead children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def one_at_a_time(judge: detector.Detector):
    """The way before: a function of a path."""
    network = trained.read(bundle.SPEECH).network
    graphdef, params, model_state = network.graphdef, network.params, network.model_state
    mesh = devices.make_mesh()
    scorer = scorers.make_scorer(graphdef, mesh)
    embedder = scorers.make_embedder(graphdef, mesh)

    def run(path: str) -> dict:
        windows = audio.windows(audio.decode(path)[0])
        examples = [scoring.audio_example(window) for _, window in windows]
        words = {"batch": 8 * mesh.size, "mesh": mesh}
        scores = scoring.score_examples(scorer, params, model_state, examples, **words)
        decided = verdict.of_scores(judge.decision, scores, np.arange(len(scores)))
        embeddings = scoring.score_examples(embedder, params, model_state, examples, **words)
        each = [properties.measure({"audio": window}) for _, window in windows]
        columns = {name: np.array([found[name] for found in each]) for name in each[0]}
        return decided | judge.typicality.judge(*typicality.whole(embeddings, columns))

    return run


def main() -> None:
    """Prints rates, ratios and memory."""
    count = int((sys.argv[1:] or [10_000])[0])
    share = max(count // ROUNDS, 1)
    with tempfile.TemporaryDirectory() as name:
        paths = clips(pathlib.Path(name), count)
        judge = inference.load()
        before = one_at_a_time(judge)
        words = ("audio", {}, None, 0.0, True)
        seen = [evidence.safely(path, *words)[0] for path in paths[:DISTINCT]]

        def slow(paths):
            return [before(path) for path in paths[:ALONE]]

        def decoding(paths):
            tasks = ((path, (path, *words), 60.0) for path in paths)
            return [key for key, _, _ in workers.run("dfjax.media.evidence:safely", tasks, workers.cores())]

        def scored(paths):
            some = itertools.islice(itertools.cycle(seen), len(paths))
            groups = (((one.parts, one.properties, one.facts), judge.examples(one)) for one in some)
            found = scoring.across_groups(judge.outputs, groups, judge.batch)
            return [judge.decide(*key, outputs)["score"] for key, outputs in found]

        def both(paths):
            return [0 for _ in judge.unordered(paths, jobs=workers.cores())]

        ways = {"one at a time": slow, "decoding alone": decoding, "scoring alone": scored, "both": both}
        for way in (slow, scored):  # compiles
            way(paths[:1])
        rates, costs, memory = {way: [] for way in ways}, {way: [] for way in ways}, {}
        for start in range(0, share * ROUNDS, share):
            for name, way in ways.items():
                began, used = time.perf_counter(), processor()
                done = len(way(paths[start : start + share]))
                rates[name].append(done / (time.perf_counter() - began))
                costs[name].append((processor() - used) / done)
            memory[start + share] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        middle = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{count:,} files of 3 s, {jax.device_count()} devices, {workers.cores()} workers")
    for name, rate in middle.items():
        times = rate / middle["one at a time"]
        rows.show(name, rate, "files/s", times, rates=rates[name])
    slower = min(middle["decoding alone"], middle["scoring alone"])
    print(f"by the clock both: {middle['both'] / middle['one at a time']:.1f} times one at a time,", end=" ")
    print(f"{middle['both'] / slower:.2f} of the slower of the two alone")
    cost = {name: statistics.median(values) for name, values in costs.items()}
    dearer = max(cost["decoding alone"], cost["scoring alone"])
    print("processor time a file:", *(f"{name} {1000 * value:.1f} ms" for name, value in cost.items()))
    print(f"by processor time both: {cost['one at a time'] / cost['both']:.1f} times, {dearer / cost['both']:.2f}")
    print("peak memory after", *(f"{at:,} files {peak:.0f} MiB" for at, peak in memory.items()))


if __name__ == "__main__":
    main()
