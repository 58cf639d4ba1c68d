"""The action unit studio, as it is used: by sliders, by buttons, in a kernel without a browser."""
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from affect_nb.apps.explore import AU_NAMES, STUDIO_TABLES, AUStudio, emotion_scores
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.core.relatedness import AFFWILD2, COGNITIVE, COMPOUND
from affect_nb.synth.faces import DRAWN_AUS


def slow_scores(active, table):
    "The formula of Section VI, one AU at a time."
    scores = {}
    for emotion in table.emotions:
        weights = table.weights_of(emotion)
        if weights: scores[emotion] = sum(weight for au, weight in weights.items() if au in active)/sum(weights.values())
    return scores | {emotion: 1 - max(scores.values()) for emotion in table.emotions if emotion not in scores}


@pytest.mark.parametrize("table", [COGNITIVE, AFFWILD2, COMPOUND], ids=["cognitive", "affwild2", "compound"])
def test_scores_follow_the_formula(table):
    rng = np.random.default_rng(0)
    for _ in range(50):
        intensities = {au: float(rng.uniform(0, 5)) for au in DRAWN_AUS if rng.random() < .4}
        expected = slow_scores({au for au, intensity in intensities.items() if intensity >= 2}, table)
        found = emotion_scores(intensities, table)
        assert list(found) == list(table.emotions)
        assert found == pytest.approx(expected)


def test_a_slider_updates_picture_and_scores():
    studio = AUStudio()
    picture, image, scores = studio.picture.value, studio.image.copy(), studio.scores.copy()
    studio.sliders[12].value = 4
    assert studio.picture.value != picture and (studio.image != image).any() and not studio.scores.equals(scores)
    assert studio.scores.loc["Happiness", "cognitive"] == pytest.approx(1/2.51)
    assert f"{1/2.51:.2f}" in studio.bars.value


@pytest.mark.parametrize("au", DRAWN_AUS)
def test_every_slider_moves_the_face(au):
    studio = AUStudio(seed=5)
    neutral = studio.image.astype(int)
    studio.sliders[au].value = 5
    assert (np.abs(studio.image - neutral).max(-1) > 15).sum() > 30, AU_NAMES[au]


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_button_shows_its_expression_and_draws_once(name):
    studio, drawn = AUStudio({12: 2.5}), []
    studio.picture.observe(drawn.append, "value")
    studio.buttons[name].click()
    assert len(drawn) == 1
    assert studio.scores["cognitive"].idxmax() == name
    assert list(studio.scores.columns) == list(STUDIO_TABLES)


def test_another_person_keeps_the_action_units():
    studio = AUStudio({4: 3.5}, seed=1)
    scores, image = studio.scores, studio.image
    studio.seed.value = 2
    assert studio.aus[4] == 3.5 and studio.scores.equals(scores) and (studio.image != image).any()


def test_two_studios_with_the_same_settings_draw_the_same_pixels():
    assert (AUStudio({1: 3}, seed=7).image == AUStudio({1: 3}, seed=7).image).all()


@pytest.mark.parametrize("wrong, said", [(dict(aus={12: 6}), "AU12 has intensity 6.0: 0 to 5"), (dict(aus={3: 1}), "AU 3 is not drawn"),
                                         (dict(seed=-1), "seed is -1"), (dict(seed=1.5), "seed is 1.5"), (dict(aus=[1, 2]), "shape")])
def test_what_cannot_be_drawn_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said): AUStudio(**wrong)


def test_a_kernel_shows_the_panel(tmp_path):
    code = "from affect_nb.apps.explore import AUStudio\nstudio = AUStudio(seed=4)\nstudio"
    notebook = new_notebook(cells=[new_code_cell(code), new_code_cell("studio.sliders[1].value = 5\nfloat(studio.scores.loc['Surprise', 'cognitive'])")])
    NotebookClient(notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    panel, = notebook.cells[0].outputs
    shown = panel["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert states[shown]["model_name"] == "VBoxModel"
    kinds = [state["model_name"] for state in states.values()]
    assert (kinds.count("FloatSliderModel"), kinds.count("ButtonModel"), kinds.count("ImageModel")) == (18, 7, 1)
    assert float(notebook.cells[1].outputs[0]["data"]["text/plain"]) == pytest.approx(1/4.66, abs=1e-3)
