"""The weights of the face and motion phantoms that travel with the package: what they can do with unseen clips."""

from __future__ import annotations

import pytest
import torch

from lvcf.data.face_attributes import ATTRIBUTES
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.data.ssv2 import SSv2Dataset
from lvcf.diffusion.inversion import noised
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.latent_reader import latent_reader
from lvcf.models.targets.clip_classifier import clip_frame_transformer, clip_resnet_3d
from lvcf.models.targets.face_attributes import attribute_resnet_3d
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face.attribute_set import FaceAttributesDataset
from lvcf.phantoms.motion import set as motion

N = 8


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> FaceAttributesDataset:
    """Faces of a seed that no training used, beards and baldness set at random; labelled by these."""
    root = tmp_path_factory.mktemp("faces")
    face.simulate(root, n=N, seed=90210, intervene=True)
    return FaceAttributesDataset(root, "all")


@pytest.fixture(scope="module")
def faces(people) -> FERV39KDataset:
    """The same, labelled by their expressions."""
    return FERV39KDataset(people.root, "all")


@pytest.fixture(scope="module")
def motions(tmp_path_factory) -> SSv2Dataset:
    """Motions of a seed that no training used."""
    root = tmp_path_factory.mktemp("motions")
    motion.simulate(root, n=N, seed=90210)
    return SSv2Dataset(root, "all")


def videos(clips: FERV39KDataset | SSv2Dataset) -> torch.Tensor:
    return torch.stack([clips[i]["video"] for i in range(N)])


@torch.no_grad()
@pytest.mark.parametrize(("load", "part"), [(clip_resnet_3d, "face_target"), (clip_frame_transformer, "face_oracle")])
def test_the_expressions_of_unseen_faces_are_read(faces, load, part) -> None:
    said = load(f"face_motion/{part}").freeze()(videos(faces)).argmax(1)
    assert int((said == torch.tensor([int(faces[i]["label"]) for i in range(N)])).sum()) >= N - 1


@torch.no_grad()
def test_unseen_motions_are_read(motions) -> None:
    said = clip_resnet_3d("face_motion/motion_target").freeze()(videos(motions)).argmax(1)
    assert int((said == torch.tensor([int(motions[i]["label"]) for i in range(N)])).sum()) >= N - 1


def test_the_attributes_of_unseen_faces_are_read(people) -> None:
    tables = attribute_resnet_3d("face_motion/face_attributes").eval().probabilities(videos(people))
    wrong = 0
    for name, table in zip(people.ids, tables, strict=True):
        known = people.known(name)
        wrong += sum(max(table[variable], key=table[variable].get) != known[variable] for variable in ATTRIBUTES)
    assert wrong <= 2  # of 32


@torch.no_grad()
def test_the_shared_vae_restores_both(faces, motions) -> None:
    backbone = ltx_backbone("face_motion/backbone").eval()
    for clips in (faces, motions):
        video = videos(clips)[:4]
        z = backbone.encode(video)
        restored = backbone.decode(z, 16).clamp(-1, 1)
        assert 10 * float(torch.log10(4 / (restored - video).square().mean())) > 22
        assert float(z.std()) == pytest.approx(1.0, abs=0.4)


def test_every_prompt_word_is_known(people, faces, motions) -> None:
    tokenizer = ltx_backbone("face_motion/backbone").tokenizer
    for clips in (people, faces, motions):
        for i in range(N):
            for prompt in (clips[i]["prompt"], clips[i]["neutral_prompt"]):
                assert tokenizer.unk_token_id not in tokenizer(prompt).input_ids


@torch.no_grad()
@pytest.mark.parametrize("kind", ["faces", "motions"])
def test_the_denoiser_predicts_unseen_clips_better_from_their_own_prompts(kind, request) -> None:
    """What a prompt is worth: the clean estimate's error under the neutral prompt, less that under the clip's own."""
    clips, backbone = request.getfixturevalue(kind), ltx_backbone("face_motion/backbone").eval()
    z = backbone.encode(videos(clips))
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    worth = torch.zeros(N)
    for level in (0.6, 0.8, 0.9):
        t = torch.full((N,), level)
        z_t = noised(z, noise, backbone.alpha_sigma(t))
        for sign, prompts in ((1, "neutral_prompt"), (-1, "prompt")):
            embedded = backbone.embed([clips[i][prompts] for i in range(N)])
            clean, _ = backbone.predict(z_t, t, embedded)
            worth += sign * (clean - z).square().mean((1, 2, 3, 4))
    assert worth.mean() > 2 * worth.std() / N**0.5


@torch.no_grad()
def test_the_detail_decoder_restores_more_than_the_vae(faces, motions) -> None:
    """Of the frames that are not shown, by four that are; unseen clips.  Edges nearly as strong as the clip's own."""
    backbone = ltx_backbone("face_motion/backbone", denoiser="face_motion/given").eval()
    assert backbone.takes_given
    shown, others = [0, 4, 8, 12], [t for t in range(16) if t % 4]
    for clips in (faces, motions):
        video = videos(clips)
        drawn = backbone.decode(backbone.encode(video), 16)
        restored = backbone.detail(drawn[:, :, others], video[:, :, shown], drawn[:, :, shown])
        wanted = video[:, :, others]
        before, after = (float((clip - wanted).square().mean()) for clip in (drawn[:, :, others], restored))
        assert after < 0.75 * before
        assert 0.85 < float(restored.diff(dim=-1).abs().mean() / wanted.diff(dim=-1).abs().mean()) < 1.1


@torch.no_grad()
@pytest.mark.parametrize(("domain", "least"), [("face", 5), ("motion", 7)])
def test_a_latent_reader_says_what_its_model_says_of_unseen_clips(faces, motions, domain, least) -> None:
    video = videos(faces if domain == "face" else motions)
    reader, model = latent_reader(f"face_motion/{domain}_reader").eval(), clip_resnet_3d(f"face_motion/{domain}_target")
    z = ltx_backbone("face_motion/backbone").eval().encode(video)
    said = reader.read(z, torch.full((N,), 0.05)).argmax(-1)
    assert int((said == model.freeze()(video).argmax(-1)).sum()) >= least
