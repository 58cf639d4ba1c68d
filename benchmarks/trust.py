"""Do the tools of trust hold what they say: intervals for people who were not there, tests for a bias that is known.

`python benchmarks/trust.py` prints the measures; `run()` returns them, with one row a number of people or a size of the bias.

- `valence`, `arousal`: share of unseen people's frames inside intervals that are to hold 90 % (`train.calibration`), a mean over
  `seeds` draws of the people that the intervals come from, and of 40 others each time; `width`: of the intervals.
- `alarms`: share of `tables` drawn tables in which `analysis.groups.group_test` finds a difference in any of eight measures, where the
  errors of half of the people are 1 + bias times as large; without a bias every alarm is a false one, and 5 % are allowed.

Nothing here is a score of a network: people, errors and biases are drawn.
"""
import argparse
import json

import numpy as np


def drawn_people(people: int, seed) -> tuple:
    """Predictions and annotations (n, 2) of people about each of whom a network is wrong in their own way; whose they are."""
    from affect_nb.synth.episodes import draw_va_path
    rng, parts = np.random.default_rng(seed), []
    for person in range(people):
        targ = draw_va_path(int(rng.integers(60, 240)), seed=int(rng.integers(2**31)))
        noise = [np.convolve(each, np.ones(10)/10**.5, "valid") for each in rng.standard_normal((2, len(targ) + 9))]
        error = .1*rng.standard_normal(2) + .15*rng.lognormal(0, .3)*np.transpose(noise)
        parts.append((.9*targ + error, targ, np.full(len(targ), person)))
    return tuple(map(np.concatenate, zip(*parts)))


def held(people: int, method: str, seed: int) -> list[float]:
    """Share of other people's frames inside intervals that come from so many people, of valence and arousal; their width."""
    from affect_nb.train.calibration import fit_intervals, interval_coverage
    intervals = fit_intervals(*drawn_people(people, (seed, 0)), method=method)
    pred, targ, subjects = drawn_people(40, (seed, 1))
    inside = interval_coverage(*intervals.bounds(pred), targ, subjects).mean()
    return [inside["valence"], inside["arousal"], (inside["width_valence"] + inside["width_arousal"])/2]


def run(seeds: int = 60, tables: int = 100) -> dict:
    """Coverage by number of people and method, alarms by bias."""
    from affect_nb.analysis.groups import alarm_share
    coverage = []
    for method, numbers in dict(estimated=(6, 10, 20, 40), guaranteed=(10, 20, 40)).items():
        for people in numbers:
            values = np.mean([held(people, method, seed) for seed in range(seeds)], axis=0)
            coverage.append(dict(intervals=f"{method}, {people} people", **dict(zip(("valence", "arousal", "width"), values.round(3).tolist()))))
    alarms = [dict(bias=f"40 people, bias {bias}", alarms=alarm_share(range(tables), 40, bias, draws=500)) for bias in (0., .4, .6, .8)]
    return dict(coverage=coverage, alarms=alarms, seeds=seeds, tables=tables)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--tables", type=int, default=100)
    print(json.dumps(run(**vars(parser.parse_args())), indent=1))
