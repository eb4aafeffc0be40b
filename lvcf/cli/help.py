"""What predict, fit and repair say first under ``--help``; the parser's own list of everything follows."""

from __future__ import annotations

Options = dict[str, str]

FIRST: dict[str, tuple[str, Options]] = {
    "predict": (
        "lvcf predict --config phantom.yaml --data.root DIR --model.target 30 --model.output runs/mine",
        {
            "--config FILE": "a shipped configuration, such as phantom.yaml, face.yaml or real_echo.yaml, or your own",
            "--data.root DIR": "the clips, in the layout that the configuration's data set has",
            "--data VideoFolderDataModule": "read any folder of video files, DICOM files or numbered pictures instead",
            "--model.target WHAT": "30, delta:-10, 20..30, other, label, or a class",
            "--model.prompt WHICH": "neutral (the model alone asks) or target (the words say it too)",
            "--model.steps N": "denoising steps",
            "--model.tolerance X": "how far from the target counts as reached, in the model's unit",
            "--model.output DIR": "the run's folder; a run that was stopped goes on",
            "--model.target_model CLASS": "the model to explain, such as lvcf.models.targets.exported.ModuleTarget",
            "--model.backbone.weights NAME": "the weights that draw, a folder or a shipped name",
            "--trainer.callbacks.CLASS.ARGUMENT X": "one argument of a method, such as GradientGuidance.samples 1",
            "--trainer.devices N": "processes or GPUs among which the batches are divided",
            "--shard i/n": "the i-th of n parts of the run, for job arrays; all write into one --model.output",
            "--data.batch_size N": "clips at once",
            "--threads N": "CPU threads; results are bit-identical at one number only",
        },
    ),
    "fit": (
        "lvcf fit --config echonet.yaml --trainer.max_steps 1000",
        {
            "--config FILE": "the training of one part, such as phantom/denoiser.yaml or echonet.yaml",
            "--data.batch_size N": "clips at once",
            "--trainer.max_steps N": "how long to train",
            "--trainer.precision WHICH": "bf16-mixed, 16-mixed or 32-true",
            "--trainer.devices N": "GPUs or processes",
            "--ckpt_path last": "go on from the newest checkpoint",
            "--model.output DIR": "where the weights are written",
            "--threads N": "CPU threads",
        },
    ),
    "repair": (
        "lvcf repair --config motion/repair.yaml --data.runs [runs/mine] --model.region [0,0,20,20]",
        {
            "--config FILE": "a shipped configuration, such as motion/repair.yaml, or your own",
            "--model.network CLASS": "the model that the runs explained, with its weights",
            "--data.runs '[RUN, ...]'": "folders of lvcf predict against it; all that they changed is irrelevant",
            "--model.region WHAT": "or only inside a box, a mask's file, or a CSV file of polygons",
            "--data.labels FILE": "or as people say: a CSV file, columns clip and label",
            "--data.oracle CLASS": "or as another model says",
            "--data.clips.root DIR": "the training clips",
            "--model.consistency X": "weight of the loss between answers that should be the same",
            "--model.output DIR": "where the repaired weights and repair.json are written",
            "--trainer.max_steps N": "how long to train",
        },
    ),
}


def first_words(verb: str) -> str:
    """An example and the options that most people need; empty of a verb that has none."""
    if verb not in FIRST:
        return ""
    example, options = FIRST[verb]
    width = max(map(len, options)) + 2
    lines = [f"  {option:<{width}}{text}" for option, text in options.items()]
    return "\n".join(["most used:", f"  {example}", "", *lines, "", "everything, from the parser:", ""])
