"""The face phantom's attributes: words, ruler, network, judges and prompts agree with each other and the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lvcf.data.clip import to_clip
from lvcf.data.face_attributes import ATTRIBUTES, combinations, index_of
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.data.video import clip_indices
from lvcf.errors import UserError
from lvcf.models.targets.face_attributes import AttributeResNet3D, attribute_resnet_3d
from lvcf.phantoms.face.attribute_set import FaceAttributesDataset
from lvcf.phantoms.face.attributes import measure_attributes, set_values, values_of
from lvcf.phantoms.face.set import draw_factors, frame_times, read_factors, simulate, through_codec
from lvcf.phantoms.face.simulate import render
from lvcf.steering.answers import Question, verdict_of
from lvcf.steering.case import Case
from lvcf.steering.graph import read_graph
from lvcf.steering.judges.base import Shown
from lvcf.steering.judges.face import FaceNetworkJudge, FaceRulerJudge

GRAPH = read_graph("steering/graphs/face.yaml")


def test_setting_is_what_is_read_and_keeps_what_is_there() -> None:
    for factors in draw_factors(20, seed=3):
        for values in combinations():
            after = set_values(factors, values)
            assert values_of(after) == values
            assert (after.scene, after.skin, after.expression) == (factors.scene, factors.skin, factors.expression)
        assert set_values(factors, values_of(factors)) == factors


def test_interventions_are_the_phantoms_own() -> None:
    """Half of the men have beards; beards on women are not drawn but by do()."""
    drawn, set_at_random = draw_factors(300, seed=1), draw_factors(300, seed=1, intervene=True)
    bearded = [sum(f.beard for f in group if f.gender == "woman") for group in (drawn, set_at_random)]
    assert bearded[0] == 0
    assert bearded[1] > 50
    for one, other in zip(drawn, set_at_random, strict=True):
        assert (one.age, one.gender, one.scene, one.wrinkles) == (other.age, other.gender, other.scene, other.wrinkles)


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_the_ruler_on_true_clips(blur) -> None:
    rng, right = np.random.default_rng(0), []
    for factors in draw_factors(4, seed=5):
        values = {name: str(rng.choice(domain)) for name, domain in ATTRIBUTES.items()}
        times = np.array([0.0, 1.0])
        frames = through_codec(render(set_values(factors, values), times))
        soft = np.round(gaussian_filter(frames.astype(float), (0, blur, blur, 0))).astype(np.uint8)
        reading = measure_attributes(soft, factors, times)
        right.append([reading.values[name] == values[name] for name in ATTRIBUTES])
        assert all(0.0 <= margin <= 1.0 for margin in reading.margins.values())
    assert np.mean(right, axis=0).tolist() == [1.0] * 4


def test_the_ruler_takes_hair_of_any_grey() -> None:
    """A word like "old" does not say how grey: the same person with another noise of its grey is read alike."""
    times = np.array([1.0])
    for factors in draw_factors(8, seed=5):
        values = {"age": "old", "gender": "woman", "beard": "no", "baldness": "no"}
        other = set_values(factors, values).do(grey_noise=round(1.0 - factors.grey_noise))
        assert measure_attributes(render(other, times), factors, times).values == values


def test_a_face_is_linear_in_its_grey() -> None:
    """The ruler fits the grey on the segment between two painted faces; brows alone stop at a shade of the skin."""
    for factors in draw_factors(3, seed=5):
        ends = [render(factors.do(grey=grey), [1.0]).astype(float) for grey in (0.0, 1.0)]
        between = render(factors.do(grey=0.3), [1.0])
        assert np.abs(0.7 * ends[0] + 0.3 * ends[1] - between).mean() <= 0.3
        assert np.abs(ends[1] - ends[0]).mean() > 3.0


def test_prompts_of_the_data_set_are_the_graphs(face_root) -> None:
    dataset = FaceAttributesDataset(face_root, "all", frames=2, size=16)
    plain = FERV39KDataset(face_root, "all", frames=2, size=16)
    for i in range(len(dataset)):
        clip, values = dataset[i], dataset.known(dataset.ids[i])
        case = Case(clip["id"], clip["neutral_prompt"], GRAPH, values, {})
        assert clip["prompt"] == case.source_prompt == plain[i]["prompt"]
        assert plain[i]["prompt"].endswith(f" {clip['neutral_prompt']}")
        assert combinations()[int(clip["label"])] == values
    assert {name: tuple(v.values) for name, v in GRAPH.variables.items()} == ATTRIBUTES


def test_the_truth_is_the_simulators_and_the_target_is_not(face_root) -> None:
    """Two women who show the same and differ in what no clip shows: one target, two truths."""
    dataset = FaceAttributesDataset(face_root, "all", frames=2, size=16)
    name = dataset.ids[0]
    woman = draw_factors(1, seed=3)[0].do(gender="woman", age=25.0)
    targets, truths = [], []
    for noise in (0.2, 0.8):
        dataset.factors[name] = woman.do(beard_noise=noise)
        do = {"gender": "man"}
        targets.append(Case(name, "", GRAPH, dataset.known(name), do).target)
        truths.append(dataset.truth(name, do))
        assert truths[-1] == values_of(set_values(dataset.factors[name], do))
    assert targets[0] == targets[1]
    assert [truth["beard"] for truth in truths] == ["yes", "no"]
    assert dataset.truth(name, {"hat": "yes"}) == dataset.truth(name, {"age": "ancient"}) == {}


def test_attributes_need_a_simulated_set(face_root, tmp_path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    for path in face_root.iterdir():
        if path.name != "Factors.csv":
            (root / path.name).symlink_to(path)
    with pytest.raises(UserError, match=r"copy: has no Factors.csv .* lvcf simulate face"):
        FaceAttributesDataset(root, "all")
    with pytest.raises(UserError, match="no such simulated face set"):
        FaceRulerJudge(root)


def test_the_networks_classes_and_marginals() -> None:
    """The combinations' softmax has the attributes' own softmaxes as marginals; labels have the combinations' order."""
    network = AttributeResNet3D(channels=(8, 8, 16)).freeze()
    video = torch.rand(2, 3, 16, 112, 112) * 2 - 1
    with torch.no_grad():
        joint = network(video).softmax(1)
    assert joint.shape == (2, 16)
    for clip, tables in enumerate(network.probabilities(video)):
        for name, table in tables.items():
            for value, share in table.items():
                marginal = sum(joint[clip, index_of(v)].item() for v in combinations() if v[name] == value)
                assert share == pytest.approx(marginal, abs=1e-5)
    assert network.labels[index_of({"age": "old", "gender": "man", "beard": "yes", "baldness": "yes"})] == (
        "old bald man with a beard"
    )


def test_the_judges_read_the_clip(face_root, tmp_path) -> None:
    """The ruler is right on a true counterfactual; the network answers with its own probabilities."""
    name, factors = next(iter(read_factors(face_root).items()))
    grid = frame_times()
    times = grid[clip_indices(grid, 16, 8.0)]
    factual = values_of(factors)
    case = Case(name, "", GRAPH, factual, {"gender": "woman" if factors.gender == "man" else "man"})
    source, edited = (
        to_clip(through_codec(render(f, times)), 112) for f in (factors, set_values(factors, case.target))
    )
    right = FaceRulerJudge(face_root).look(Shown(name, edited, 8.0), case.questions).answer
    assert verdict_of(right, case.questions).realised
    wrong = FaceRulerJudge(face_root).look(Shown(name, source, 8.0), case.questions).answer
    assert "gender" in [answer.attribute for answer in verdict_of(wrong, case.questions).failed]
    network = AttributeResNet3D(channels=(8, 8, 16))
    network.save_pretrained(tmp_path)
    judge = FaceNetworkJudge(attribute_resnet_3d(str(tmp_path)))
    seen = judge.look(Shown(name, edited, 8.0), case.questions).answer
    (tables,) = judge.network.probabilities(edited[None])
    for answer in verdict_of(seen, case.questions).answers:
        assert answer.confidence == pytest.approx(max(tables[answer.attribute].values()))
        assert answer.observed == max(tables[answer.attribute], key=tables[answer.attribute].get)
        assert answer.realised == (answer.observed == case.target[answer.attribute])


def test_strange_questions_and_clips_are_refused(face_root) -> None:
    clip = torch.zeros(3, 16, 112, 112)
    judge = FaceRulerJudge(face_root)
    question = Question(attribute="age", text="?", options=("young", "old"))
    with pytest.raises(UserError, match="has no clip nobody"):
        judge.look(Shown("nobody", clip, 8.0), [question])
    for changes, says in (({"attribute": "bread"}, "did you mean beard"), ({"options": ("olde",)}, "did you mean old")):
        with pytest.raises(UserError, match=says):
            judge.look(Shown("nobody", clip, 8.0), [question.model_copy(update=changes)])


def test_simulated_interventions_are_written(tmp_path) -> None:
    from lvcf.cli.simulate import DOMAINS

    DOMAINS["face_do"][0](tmp_path / "set", 2, 4, "none")
    assert list(read_factors(tmp_path / "set").values()) == draw_factors(2, 4, intervene=True)
    with pytest.raises(UserError, match="another --n"):
        simulate(tmp_path / "set", 2, 4)
