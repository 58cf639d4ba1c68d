"""The benchmark of the paper's orderings: its report from tables made here, and how it runs its jobs. Trainings are not run."""
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import orderings  # noqa: E402


def table(noise, seed):
    "Predictions that are right but for noise; twelve utterances of four videos."
    rng, truth = np.random.default_rng(seed), np.random.default_rng(1).uniform(-1, 1, (12, 2))
    pred = truth + noise*rng.standard_normal(truth.shape)
    return pd.DataFrame(dict(clip=np.repeat(list("abcd"), 3), frame=np.tile(range(3), 4), valence=truth[:, 0], arousal=truth[:, 1], valence_pred=pred[:, 0], arousal_pred=pred[:, 1]))


def test_report_says_what_was_found(tmp_path):
    for section, claims in orderings.CLAIMS.items():
        (tmp_path/"tables"/section).mkdir(parents=True)
        for method in {method for pair in claims.values() for method in pair}:
            noise = .1 if method in ("AffWildNet", "CNN-1RNN") else 1.
            for seed in range(10): table(noise, sum(map(ord, method)) + seed).to_parquet(tmp_path/"tables"/section/f"{method}.{seed}.parquet")
    found = orderings.report(tmp_path, seeds=10)
    claims = {row["claim"]: row for row in found["claims"]}
    assert claims["landmarks help"]["holds"] == "yes" and claims["landmarks help"]["seeds_for"] == 10
    assert claims["CNN-3RNN > CNN-1RNN"]["holds"] == "reversed" and claims["CNN-3RNN > CNN-1RNN"]["difference"] < 0
    assert {row["holds"] for row in orderings.report(tmp_path, seeds=3)["claims"]} == {"open"} # three seeds prove nothing
    networks = {(row["data"], row["network"]): row for row in found["networks"]}
    best = networks["aff-wild", "AffWildNet"]
    assert best["low"] <= best["ccc_mean"] <= best["high"] and best["ccc_mean"] == pytest.approx(np.mean(best["seeds"]), abs=1e-4)


def test_every_claim_is_about_networks_that_are_trained():
    trained = {section: {method for _, method in sum(orderings.STAGES, []) if _ == section} for section in orderings.CLAIMS}
    for section, claims in orderings.CLAIMS.items():
        assert {method for pair in claims.values() for method in pair} <= trained[section]

