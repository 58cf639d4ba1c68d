"""The study of how an utterance enters the loss: its ways are recipes, its report chooses on validation."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import utterances  # noqa: E402


def test_each_way_is_a_recipe_with_a_loss_of_its_own():
    import torch
    from affect_nb.train.fastai_losses import loss_of_tasks
    from affect_nb.train.recipes import omg_recipe
    torch.manual_seed(0)
    pred, targ = torch.rand(4, 7, 2), torch.rand(4, 1, 2).expand(-1, 7, -1)
    recipes = [omg_recipe("demo").replace(**changes) for changes in utterances.WAYS.values()]
    losses = {round(loss_of_tasks(recipe.tasks, pool=recipe.pool)(pred, targ).item(), 6) for recipe in recipes}
    assert len(losses) == 3 and [recipe.batch_size for recipe in recipes] == [4, 4, 10, 4]


def test_the_median_teaches_two_frames_of_an_even_sequence_and_all_frames_teach_each():
    import torch
    from affect_nb.train.fastai_losses import loss_of_tasks
    torch.manual_seed(0)
    targ = torch.rand(4, 1, 2).expand(-1, 80, -1)
    for pool, taught in (("median", 16), ("mean", 640), (None, 640)):
        pred = torch.rand(4, 80, 2, requires_grad=True)
        loss_of_tasks(("va",), pool=pool)(pred, targ).backward()
        assert pred.grad.count_nonzero() == taught


def test_report_chooses_on_validation_and_reports_the_test(tmp_path):
    (tmp_path/"scores").mkdir()
    rng = np.random.default_rng(0)
    for way in utterances.WAYS:
        for seed in range(10):
            valid, test = .5 + .3*(way == "mean of 10"), .5 + .3*(way == "all frames of 4") + .01*rng.random()
            scores = {part: dict.fromkeys(utterances.SCORES, value) for part, value in (("validation", valid), ("test", test))}
            (tmp_path/"scores"/f"{way}.{seed}.json").write_text(json.dumps(scores))
    found = utterances.report(tmp_path, 10)
    claims = {row["claim"]: row for row in found["claims"]}
    assert found["chosen"] == "mean of 10" and len(claims) == 6
    assert claims["all frames of 4 > median of 4, ccc_valence"]["holds"] == "yes"
    assert claims["mean of 10 > median of 4, ccc_valence"]["difference"] == pytest.approx(0, abs=.01)
