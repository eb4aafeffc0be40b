"""What a figure's key means: a readable name, its unit, which direction is better, and a sentence about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

HIGHER, LOWER = "higher", "lower"
MODEL = "model's unit"
"""Stands for the unit of the explained model's reading, which a page fills in."""
_BRACKETS = re.compile(r"^(?P<key>[^\[]+)\[(?P<about>.*)\]$")
_SHORT = {w.lower(): w for w in ("MAE", "RMSE", "EF", "LPIPS", "FID", "KID", "FVD", "SSIM", "PSNR", "IoU", "ED", "ES")}


@dataclass(frozen=True)
class Figure:
    """A figure's ``name`` in words, what it is ``about``, which direction is ``better`` ("" for neither), its unit."""

    name: str
    about: str = ""
    better: str = ""
    unit: str = ""
    setting: str = ""
    """What stands in brackets behind the key: an extractor with its sizes, or another run."""
    like: str = ""
    """The key of the figure that it is best to be near to, where the end of the scale is not best."""
    per: float = 1.0
    """How much of what is stored makes one of the unit."""

    @property
    def title(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def label(self) -> str:
        """Title and setting: unlike any other figure's."""
        return f"{self.title}, {self.setting}" if self.setting else self.title


CORRECTION = "before_correction"
READING, TARGET, ERROR, SQUARED_ERROR = (f"adherence/{n}" for n in ("reading", "target", "error", "squared_error"))
ERROR_BEFORE = f"{ERROR}_{CORRECTION}"
WITHIN, CONFIDENCE = "adherence/within_tolerance", "adherence/confidence"
WITHIN_BEFORE, CONFIDENCE_BEFORE = (f"{key}_{CORRECTION}" for key in (WITHIN, CONFIDENCE))
FLIPPED, FLIPPED_FROM_RIGHT = "adherence/flip_rate", "adherence/flip_rate_from_right"
SSIM_OFF = "truth/ssim_off_truth"
"""Distance to the true counterfactual's SSIM: above it, too little has changed."""
ORACLE_MOVED = "truth/oracle_moved"
"""From the factual to the counterfactual: the oracle's reading, of a classifier its probability of the target."""
OF_A_CLIP = (READING, TARGET, ERROR, SQUARED_ERROR, ERROR_BEFORE, SSIM_OFF)
"""Keys whose mean is no figure of ``metrics.json``, or under another name."""
ABOUT = {
    "adherence": "Does the model now say what was asked?",
    "fidelity": "Does the clip still look like the factual?",
    "proximity": "How little was changed?",
    "diversity": "How different are a clip's counterfactuals, and do all hold?",
    "outside": "Did anything change outside the region that should?",
    "captions": "Is all else described as before?",
    "temporal": "Is the change steady from frame to frame?",
    "realism": "Do the counterfactuals look like real clips, as a set?",
    "clip": "Is it steady, and does it show what the words say, by CLIP?",
    "quality": "Does it look good, by DOVER?",
    "minimality": "Is it nearer to its clip than real clips of the target are?",
    "explanation": "Is the change what turns the model?",
    "region": "Is the change where the user said it belongs?",
    "composition": "Does asking for nothing change nothing?",
    "reversibility": "Does the way back lead to the factual?",
    "truth": "How close is it to the simulator's true counterfactual?",
    "plausible": "Does it look like a clip of the set?",
    "leakage": "Did anything change that should not have?",
    "cost": "What did it take?",
}
"""The question a group of metrics answers, by the part of its keys before the slash; in the order they are told."""
STATUSES = {"reached": "reached", "not_reached": "not reached", "not_drawable": "not drawable", "failed": "failed"}
"""What ``result.json`` says of a clip, in words."""
FIGURES = {
    "adherence/mae": Figure("mean absolute error", "How far M's reading is from the target.", LOWER, MODEL),
    "adherence/mae_before_correction": Figure(
        "mean absolute error before the last correction", "Of M's reading before its own last step.", LOWER, MODEL
    ),
    "adherence/rmse": Figure("root mean squared error", "As the mean error; large misses weigh more.", LOWER, MODEL),
    "adherence/r2": Figure("R²", "How well M's readings follow the targets; 1 is exactly.", HIGHER),
    "adherence/within_tolerance": Figure(
        "within tolerance",
        "Share of clips that reached the target; of a classifier, its class with a probability of 0.5 or more.",
        HIGHER,
    ),
    "adherence/within_tolerance_before_correction": Figure(
        "within tolerance before the last correction", "Share of clips that had reached the target by then.", HIGHER
    ),
    "adherence/flip_rate": Figure(
        "flip rate", "Share of clips of which M now says the target's class and did not before.", HIGHER
    ),
    "adherence/flip_rate_from_right": Figure(
        "flip rate from right", "Flip rate over the clips whose class M had right before.", HIGHER
    ),
    "adherence/confidence": Figure("confidence", "M's mean probability of the target's class.", HIGHER),
    "adherence/confidence_before_correction": Figure(
        "confidence before the last correction", "M's mean probability of the target's class by then.", HIGHER
    ),
    "adherence/error": Figure("distance to the target", "Of M's reading of the saved counterfactual.", LOWER, MODEL),
    "adherence/squared_error": Figure("squared error", "Of M's reading of the saved counterfactual.", LOWER),
    "adherence/error_before_correction": Figure(
        "distance to the target before the last correction", "Of M's reading by then.", LOWER, MODEL
    ),
    "adherence/reading": Figure("reading", "M's, of the saved counterfactual.", "", MODEL),
    "adherence/target": Figure("target", "What was asked; of a range the edge nearest to M's reading.", "", MODEL),
    "adherence/valid_reencoded": Figure(
        "valid when re-encoded", "Share of reached clips that stay within tolerance after lossy H.264.", HIGHER
    ),
    "adherence/valid_perturbed": Figure(
        "valid under noise", "Share of reached clips that stay within tolerance under noise of 2 levels.", HIGHER
    ),
    "fidelity/ssim": Figure(
        "SSIM",
        "Structural likeness to the factual. Doing nothing scores 1: judge it by the truth's SSIM where that is known.",
        HIGHER,
        like="truth/ssim_of_truth",
    ),
    "fidelity/psnr": Figure("PSNR", "Peak signal to noise against the factual.", HIGHER, "dB"),
    "fidelity/lpips": Figure("LPIPS", "Perceptual distance to the factual by AlexNet.", LOWER),
    "fidelity/lpips_vgg": Figure("LPIPS, VGG", "Perceptual distance to the factual by VGG-16.", LOWER),
    "proximity/l1_levels": Figure("change", "Mean absolute difference to the factual.", LOWER, "levels"),
    "proximity/changed_over_8_levels": Figure("changed voxels", "Share that moved by more than 8 levels.", LOWER),
    "diversity/l1_levels": Figure(
        "apart", "Mean absolute difference of every two counterfactuals of a clip.", HIGHER, "levels"
    ),
    "diversity/reached": Figure("of several, reached", "Share of a clip's counterfactuals that M accepts.", HIGHER),
    "temporal/flicker_levels": Figure(
        "flicker", "How much the difference to the factual changes from frame to frame.", LOWER, "levels"
    ),
    "temporal/warping_levels": Figure(
        "warping error",
        "Each frame against the one before, moved along the flow; best where the factual's is.",
        unit="levels",
        like="temporal/warping_levels_of_factual",
    ),
    "temporal/warping_levels_of_factual": Figure(
        "warping error of the factual", "What the clip's own noise and motion give.", "", "levels"
    ),
    "realism/fid": Figure(
        "FID", "Fréchet distance of frame features between counterfactuals and other real clips.", LOWER
    ),
    "realism/fid_floor": Figure("FID floor", "The same between two halves of the real clips: what is reachable."),
    "realism/kid": Figure("KID", "Kernel distance of frame features; unbiased, may fall below 0.", LOWER),
    "realism/kid_floor": Figure("KID floor", "The same between two halves of the real clips: what is reachable."),
    "realism/fvd": Figure(
        "FVD", "Fréchet distance of clip features between counterfactuals and other real clips.", LOWER
    ),
    "realism/fvd_floor": Figure("FVD floor", "The same between two halves of the real clips: what is reachable."),
    "explanation/cout": Figure(
        "COUT", "Whether the most changed voxels turn M first: towards the target, away from what it said.", HIGHER
    ),
    "explanation/insertion": Figure(
        "insertion", "Area under M's answer as the most changed voxels are put in first.", HIGHER
    ),
    "explanation/deletion": Figure(
        "deletion", "Area under M's answer as the most changed voxels are taken back first.", LOWER
    ),
    "explanation/change_correlation": Figure(
        "likeness to another run's change",
        "Correlation of the signed differences. Low is right against a randomised model, high against another seed.",
    ),
    "explanation/oracle_agrees": Figure(
        "oracle agrees", "Share of clips on which a second model, unknown to guidance, says what M says.", HIGHER
    ),
    "explanation/oracle_gap": Figure("gap to the oracle", "Distance of M's reading to the oracle's.", LOWER, MODEL),
    "explanation/oracle_concordance": Figure(
        "concordance with the oracle", "Lin's coefficient of M's and the oracle's readings; 1 is equal.", HIGHER
    ),
    "composition/ssim": Figure("SSIM when nothing is asked", "1 if asking for nothing changes nothing.", HIGHER),
    "composition/l1_levels": Figure(
        "change when nothing is asked", "0 if asking for nothing changes nothing.", LOWER, "levels"
    ),
    "reversibility/ssim": Figure("SSIM of the way back", "To the clip that the first run began with.", HIGHER),
    "reversibility/l1_levels": Figure(
        "distance after the way back", "To the clip that the first run began with.", LOWER, "levels"
    ),
    "reversibility/l1_there": Figure("distance of the way there", "What the way back had to undo.", "", "levels"),
    "region/mask_precision": Figure(
        "mask inside the region", "Share of the mask that lies in the region the user marked.", HIGHER
    ),
    "region/mask_iou": Figure("mask IoU with the region", "Overlap with the region the user marked.", HIGHER),
    "region/change_outside_levels": Figure(
        "change outside the region", "Mean absolute difference outside what the user marked.", LOWER, "levels"
    ),
    "minimality/cld": Figure(
        "counterfactual latent divergence", "Near the clips of the target and of the own clip, far from others.", LOWER
    ),
    "truth/share_recovered_smooth": Figure(
        "true change recovered, smoothed",
        "1 − missed / asked, over all clips together: 1 is the true counterfactual, 0 is doing nothing.",
        HIGHER,
    ),
    "truth/share_recovered_raw": Figure(
        "true change recovered, raw", "The same pixel by pixel; redrawn texture counts against it.", HIGHER
    ),
    **{
        f"truth/{part}_{kind}": Figure(f"{name}{how}", about, better, "levels")
        for kind, how in (("smooth", ", smoothed"), ("raw", ", raw"))
        for part, name, about, better in (
            ("missed", "missed", "Mean absolute difference of the counterfactual to the true clip.", LOWER),
            ("asked", "asked for", "Mean absolute difference of the factual to the true clip.", ""),
        )
    },
    "truth/l1_levels": Figure("distance to the truth", "Mean absolute difference to the true clip.", LOWER, "levels"),
    "truth/ssim": Figure("SSIM with the truth", "Of the counterfactual to the true clip.", HIGHER),
    "truth/l1_levels_of_factual": Figure(
        "the factual's distance to the truth", "What doing nothing leaves.", "", "levels"
    ),
    "truth/target_is_true": Figure(
        "target agrees with the truth", "Share of clips whose target is the truth's: a clip does not tell all of it."
    ),
    "truth/ssim_of_truth": Figure("SSIM of the truth", "Of the true clip to the factual: what SSIM should be."),
    "truth/ssim_off_truth": Figure("SSIM off the truth's", "Above it, too little has changed.", LOWER),
    "truth/pixel_ef": Figure("EF in the pixels", "Measured without a network.", "", "%"),
    "truth/pixel_ef_of_truth": Figure("EF in the true clip's pixels", "The same measurement on the truth.", "", "%"),
    "truth/pixel_ef_error": Figure(
        "EF off in the pixels", "Distance of the measured EF to the true clip's.", LOWER, "EF points"
    ),
    "truth/pixel_ef_r": Figure(
        "EF correlation in the pixels", "Pearson's, of the measured EF and the true clip's.", HIGHER
    ),
    "truth/pixel_class": Figure("class in the pixels", "Share of clips that show the target, by the ruler.", HIGHER),
    "truth/pixel_class_of_truth": Figure("class in the truth's pixels", "What the ruler says of the true clips."),
    "truth/pixel_class_before": Figure("class in the factual's pixels", "Share that showed the target already."),
    "truth/action_unit_error": Figure("action units off", "Mean error of the face's measured action units.", LOWER),
    "truth/path_error": Figure("path off", "Mean distance of the object's path to the true one.", LOWER, "px"),
    "truth/object_seen": Figure("object seen", "Share of frames in which the ruler finds the object.", HIGHER),
    "truth/ruler_error": Figure("the ruler's own error", "The same measurement on the true clip: its limit."),
    "truth/mask_iou": Figure("mask IoU with the truth", "Overlap with the voxels that truly change.", HIGHER),
    "truth/mask_precision": Figure(
        "mask inside the truth", "Share of the mask that lies where something truly changes.", HIGHER
    ),
    "truth/oracle_class": Figure("class by the oracle", "Share of clips of which the oracle says the target.", HIGHER),
    "truth/oracle_ef": Figure("EF by the oracle", "What a model that guidance never saw reads.", "", "%"),
    "truth/oracle_ef_error": Figure(
        "EF off by the oracle", "Distance of the oracle's reading to the target.", LOWER, "EF points"
    ),
    ORACLE_MOVED: Figure(
        "oracle's reading moved",
        "From the factual to the counterfactual; a classifier's probability of the target.",
        "",
        MODEL,
    ),
    "truth/oracle": Figure("oracle", "A model that guidance never saw."),
    "plausible/off_manifold": Figure(
        "off the manifold", "To the nearest clip that the phantom can paint, softened by 1 px.", LOWER, "levels"
    ),
    "plausible/off_manifold_raw": Figure(
        "off the manifold, raw", "The same without softening: with the decoder's grain.", LOWER, "levels"
    ),
    "plausible/on_manifold": Figure(
        "on the manifold", "Share of clips as near to one of the phantom's as the VAE's true clips.", HIGHER
    ),
    "plausible/strict_class": Figure(
        "class, strictly", "Share of clips whose nearest paintable clip shows the target, and is near.", HIGHER
    ),
    "plausible/nearest_ef_error": Figure(
        "EF of the nearest clip off by", "Of the nearest clip that the phantom can paint.", LOWER, "EF points"
    ),
    "plausible/two_sample": Figure(
        "told from real clips", "AUC of a classifier on held-out clips: 0.5 cannot be told apart, 1 always.", LOWER
    ),
    "plausible/sharpness": Figure(
        "sharpness of the change", "Over the true clip's: 1 is right, below is blur.", "", "x"
    ),
    "leakage/edv_percent": Figure("end-diastolic volume moved", "It should not move with EF.", LOWER, "%"),
    "leakage/beat_correlation_loss": Figure("beat moved", "1 − correlation of the volume's course.", LOWER),
    "leakage/brightness_levels": Figure("brightness moved", "Against the true clip.", LOWER, "levels"),
    "leakage/unchanged_levels": Figure("still voxels moved", "Where the truth does not change.", LOWER, "levels"),
    "joint": Figure("joint", "Every attribute right, by the evaluating judge.", HIGHER),
    "effectiveness": Figure(
        "effectiveness",
        "Share of what was set and of what follows from it that is right, by the evaluating judge.",
        HIGHER,
    ),
    "minimality": Figure("minimality", "Share of what should stay that stayed, by the evaluating judge.", HIGHER),
    "violations": Figure(
        "violations", "Attributes that are wrong though nobody set them, by the evaluating judge.", LOWER
    ),
    "right": Figure("right", "One attribute right, by the evaluating judge.", HIGHER),
    "outside/ssim": Figure("SSIM outside", "Of the counterfactual to the factual, outside what should change.", HIGHER),
    "outside/l1_levels": Figure(
        "change outside", "Mean absolute difference to the factual, outside what should change.", LOWER, "levels"
    ),
    "outside/lpips": Figure("LPIPS outside", "Perceptual distance to the factual, outside what should change.", LOWER),
    "clip/consistency": Figure(
        "CLIP consistency",
        "Likeness of frames that follow each other; a clip that stands still has most.",
        like="clip/consistency_of_factual",
    ),
    "clip/consistency_of_factual": Figure("CLIP consistency of the factual", "What the clip itself has."),
    "clip/text_alignment": Figure(
        "CLIP text alignment", "Likeness of the frames to what they should show, in words; the same for all.", HIGHER
    ),
    "clip/text_alignment_of_factual": Figure("CLIP text alignment of the factual", "What doing nothing has."),
    "captions/similarity": Figure(
        "caption similarity", "Of descriptions before and after that leave the graph's variables out.", HIGHER
    ),
    "quality/dover": Figure("DOVER", "Aesthetic and technical quality."),
    **{
        f"quality/dover_{part}": Figure(
            f"DOVER, {part}",
            f"The {part} quality; best where the factual's is.",
            like=f"quality/dover_{part}_of_factual",
        )
        for part in ("aesthetic", "technical", "overall")
    },
    **{
        f"quality/dover_{part}_of_factual": Figure(f"DOVER of the factual, {part}", "What the clip itself has.")
        for part in ("aesthetic", "technical", "overall")
    },
    "edits": Figure("edits", "Per counterfactual.", LOWER),
    "calls": Figure("calls", "Of judge and rewriter, per counterfactual; evaluation is not counted.", LOWER),
    "tokens": Figure("tokens", "In and out, per counterfactual.", LOWER),
    "seconds": Figure("time", "Per counterfactual.", LOWER, "s"),
    "peak_memory_bytes": Figure("peak memory", "Of the hungriest call.", LOWER, "MiB", per=2**20),
    "cost/steps": Figure("denoising steps", "Per clip.", LOWER),
    "cost/gradient_evaluations": Figure("gradient evaluations", "Of the explained model, per clip.", LOWER),
    "cost/queries": Figure("queries", "Of the explained model as a black box, per clip.", LOWER),
    "cost/seconds": Figure("time per clip", "", LOWER, "s"),
    "cost/peak_memory_bytes": Figure("peak memory", "", LOWER, "MiB", per=2**20),
    "cost/mask_share": Figure("clip changed (mask)", "Share of the clip where change was let in.", LOWER),
    "n": Figure("clips", "That did not fail."),
    "failed": Figure("failed clips", "Left out of every other figure."),
    "unfinished": Figure("unfinished", "What the run has not made yet is in no figure."),
    "method": Figure("method"),
    "prompt": Figure("prompt"),
    "simulated": Figure("simulated", "Whether the clips come from a simulator."),
}
"""By key of ``metrics.json``, without what stands in brackets."""


def figure_of(key: str, unit: str = "") -> Figure:
    """What a key says; of one that is not listed, its own words.

    Args:
        key: of ``metrics.json`` or a column of ``predictions.csv``.
        unit: of the explained model's reading.
    """
    match = _BRACKETS.match(key)
    plain, setting = (match["key"], match["about"]) if match else (key, "")
    figure = FIGURES.get(plain) or Figure(words(plain.rpartition("/")[2]))
    return replace(figure, unit=unit if figure.unit == MODEL else figure.unit, setting=_spaced(setting))


def words(name: str) -> str:
    """An identifier as words: ``pixel_ef`` as pixel EF."""
    return " ".join(_SHORT.get(word.lower(), word) for word in name.replace("_", " ").replace(".", " · ").split(" "))


def _spaced(setting: str) -> str:
    return ", ".join(part.replace("=", " = ") for part in setting.split(","))
