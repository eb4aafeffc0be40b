"""Networks from files that carry their own graph (torch.export, TorchScript), and any ``nn.Module`` by class_path.

All three are differentiable.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from lvcf.errors import UserError
from lvcf.models.targets.checkpoint import load_weights
from lvcf.models.targets.graphs import load_graph
from lvcf.models.targets.wrapping import ANY, ONE, Answer, Batch, ClipInput, WrappedTarget

NORM = "batch_norm"
"""In the names of all operators of batch norm, which take their arguments in one order."""


class ExportedTarget(WrappedTarget):
    """A graph saved by ``torch.export.save`` (``.pt2``) or ``torch.jit.save`` (any other ending).

    A graph exported for a number of clips is run on that many at once, filled up with copies; one that takes no more
    than a number, on that many; one that only takes a single clip, clip by clip.

    Args:
        file: the graph.
        takes: the clip it takes.
        answer: what it says.

    Raises:
        UserError: the file does not load, could do harm, or does not pass
            :func:`~lvcf.models.targets.check.check_target`.
    """

    def __init__(self, file: Path, takes: ClipInput, answer: Answer) -> None:
        graph = load_graph(file)
        if trains(graph):
            raise UserError(
                f"{file}: exported in training mode: batch norm takes each batch's own statistics; call eval() before "
                "torch.export.export"
            )
        super().__init__(str(file), takes, answer, exported_batches(graph))
        self.graph, self.kind = graph, input_type(graph)
        self.check()

    def run(self, prepared: Tensor) -> object:
        """See the base class."""
        return self.graph(prepared.to(self.kind))

    def train(self, mode: bool = True) -> ExportedTarget:
        """Nothing to switch: an exported graph has the mode it was exported in, and refuses another."""
        self.training = mode
        return self


class ModuleTarget(WrappedTarget):
    """Any ``nn.Module``: give its class_path and init_args as ``network``.

    Args:
        network: the module.
        takes: the clip it takes.
        answer: what it says.
        file: its weights (tensors and numbers only); none leaves the module as its constructor made it.
        checkpoint_key: where in the file the weights are, such as ``state_dict_ema``; none looks for the usual places.

    Raises:
        UserError: the weights do not load, or it does not pass :func:`~lvcf.models.targets.check.check_target`.
    """

    def __init__(
        self,
        network: nn.Module,
        takes: ClipInput,
        answer: Answer,
        file: Path | None = None,
        checkpoint_key: str | None = None,
    ) -> None:
        super().__init__(type(network).__name__, takes, answer)
        self.network = network
        if file is not None:
            load_weights(network, file, checkpoint_key)
        self.check()

    def run(self, prepared: Tensor) -> object:
        """See the base class."""
        return self.network(prepared)


def exported_batches(graph: nn.Module) -> tuple[Batch, ...]:
    """How many clips a graph may take at once, by an exported program's input; of TorchScript nobody knows."""
    inputs = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"] if _is_program(graph) else []
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].dim() != 5:
        return ANY, ONE  # the check tells what does not fit
    size = inputs[0].shape[0]
    if isinstance(size, int):
        return ((size, size),)
    known = graph.range_constraints.get(size.node.expr)
    if known is None:
        return ANY, ONE
    least, most = (int(end) if end.is_Integer else sys.maxsize for end in (known.lower, known.upper))
    return tuple(dict.fromkeys([(1, most), (max(least, 1), most), ONE]))  # it says 2 where 1 works as well


def input_type(graph: nn.Module) -> torch.dtype:
    """The floats a graph takes, by an exported program's input, or else by its weights."""
    inputs = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"] if _is_program(graph) else []
    kinds = [tensor.dtype for tensor in (*inputs, *graph.parameters()) if isinstance(tensor, Tensor)]
    return next((kind for kind in kinds if kind.is_floating_point), torch.float32)


def trains(graph: nn.Module) -> bool:
    """Whether batch norm in an exported program has running statistics and does not use them.

    Of one clip at a time nothing else tells.
    """
    calls = [node for node in graph.graph.nodes if node.op == "call_function"] if _is_program(graph) else []
    norms = [(str(node.target), node.args) for node in calls if NORM in str(node.target)]
    # the fourth is the running mean, the sixth says training
    return any("with_update" in name or (args[3] is not None and args[5] is True) for name, args in norms)


def _is_program(graph: nn.Module) -> TypeGuard[GraphModule]:
    return isinstance(graph, GraphModule)
