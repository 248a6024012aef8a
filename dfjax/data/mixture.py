"""Which row stands at a position of the endless mixture of strata: a function of the run's seed and the position alone.

It is grain's mixture (`MapDataset.mix` of shuffled, repeated sources), position for position, so that what a run draws
does not change. Grain finds a place in a shuffled stratum by walking through the numbers below 2**16, for 200 rows 330
steps a row; here the walks of a pass are made together.
"""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int, UInt8, UInt16

from dfjax.data.sampling import Strata

TABLE = 2**16  # numbers that grain's cipher permutes, for fewer rows too
ROUNDS = 4  # of the cipher
PASSES = 128  # orders kept, of 128 KiB at most
WORD = 0xFFFFFFFF


def make(strata: Strata, seed: int) -> Callable[[range], Int[np.ndarray, " positions"]]:
    """The function from positions of the mixture to row numbers of the split.

    Args:
      strata: rows by class and the rates of the classes.
      seed: of the run; each pass over a stratum is shuffled anew.
    """
    rates = np.diff(strata.cumulative, prepend=0).tolist()
    parts = [int(rate * (100 / min(rates))) for rate in rates]
    seeds = [int(np.random.SeedSequence([seed + i, 1]).generate_state(1)[0]) for i in range(len(parts))]

    def rows(positions: range) -> Int[np.ndarray, " positions"]:
        found = np.empty(len(positions), np.int64)
        stratum, turn = places(np.arange(positions.start, positions.stop), parts)
        for i in range(len(parts)):
            start, count = int(strata.start[i]), int(strata.count[i])
            passed, place = np.divmod(turn[stratum == i], count)
            for each in np.unique(passed):
                place[passed == each] = shuffled(place[passed == each], count, (seeds[i] + int(each)) & WORD)
            found[stratum == i] = strata.order[start + place]
        return found

    return rows


def places(positions: Int[np.ndarray, " n"], parts: list[int]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(stratum, turn) of each position: its row is number `turn` of those that the stratum gives, one after another.

    `parts` are the rates of the strata, in whole numbers.
    """
    stratum, turn = np.full(len(positions), -1), np.empty(len(positions), np.int64)
    low, high, left = positions, positions + 1, sum(parts)
    for i, part in enumerate(parts):
        next_low, next_high = low * (left - part) // left, high * (left - part) // left
        here = (stratum < 0) & (low - next_low != high - next_high)
        stratum[here], turn[here] = i, (high - next_high)[here] - 1
        low, high, left = next_low, next_high, left - part
    return stratum, turn


def shuffled(places: Int[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Which of a stratum's `count` rows come at `places` (0 to count - 1) of the pass that `seed` shuffles."""
    if count <= TABLE:
        return order(count, seed)[places].astype(np.int64)
    from grain.experimental import index_shuffle  # 0.2 s, wanted by large splits alone

    words = {"max_index": count - 1, "seed": seed, "rounds": ROUNDS}
    return np.array([index_shuffle(int(place), **words) for place in places])


@functools.lru_cache(PASSES)
def order(count: int, seed: int) -> UInt16[np.ndarray, " count"]:
    """The shuffled order of `count` rows, at most TABLE, as grain's `index_shuffle` has it.

    A block cipher (Simon: Beaulieu et al., eprint.iacr.org/2013/404) permutes TABLE numbers; from each place it is
    applied until the number is below `count` (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
    """
    keys = np.array(seed_words(seed, ROUNDS)).astype(np.uint8)
    left, right = np.divmod(np.arange(TABLE, dtype=np.uint16), 256)
    left, right = left.astype(np.uint8), right.astype(np.uint8)
    for first, second in keys.reshape(-1, 2):
        left ^= _mixed(right) ^ first
        right ^= _mixed(left) ^ second
    step = 256 * left.astype(np.uint16) + right
    while step[:count].max() >= count:  # each time walks twice as far, and stops below `count`
        step = np.where(step < count, step, step[step])
    return step[:count].copy()


def _mixed(x: UInt8[np.ndarray, " n"]) -> UInt8[np.ndarray, " n"]:
    return ((x << 1 | x >> 7) & x) ^ (x << 2 | x >> 6)


def seed_words(seed: int, count: int) -> list[int]:
    """What C++'s `std::seed_seq{seed}` generates: 2 to 6 words of 32 bits (ISO C++, [rand.util.seedseq])."""
    words, step = [0x8B8B8B8B] * count, (count - 1) // 2
    near, far = (count - step) // 2, (count - step) // 2 + step
    for k in range(2 * count):
        at, before, after, beyond = k % count, (k - 1) % count, (k + near) % count, (k + far) % count
        if k < count:
            value = words[at] ^ words[after] ^ words[before]
            value = 1664525 * (value ^ value >> 27) & WORD
            other = value + at + (1 if k == 0 else seed if k == 1 else 0) & WORD
            words[after], words[beyond] = words[after] + value & WORD, words[beyond] + other & WORD
        else:
            value = words[at] + words[after] + words[before] & WORD
            value = 1566083941 * (value ^ value >> 27) & WORD
            other = value - at & WORD
            words[after] ^= value
            words[beyond] ^= other
        words[at] = other
    return words
