"""The one training loop. It knows phases, streams and terms; the algorithm lives in the method.

Gradients are reduced here rather than by a DDP wrapper: a term's sum is divided by a count over all processes before
`backward`, then the gradients are summed. So results do not depend on how examples fall on processes, a parameter that
a step leaves unused is harmless, and methods can combine the gradients of several terms.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmunlearn.acceleration import accelerator
from mmunlearn.errors import UserError
from mmunlearn.feed import Feed, forwards, part
from mmunlearn.handle import Batch, Handle
from mmunlearn.order import batches_per_epoch
from mmunlearn.phases import NormMode, Phase, Step, Term
from mmunlearn.precision import doubled_inputs, working
from mmunlearn.run import Run
from mmunlearn.seeds import derive
from mmunlearn.step_sums import StepSums

log = logging.getLogger(__name__)

Streams = Mapping[str, tuple[Feed, np.ndarray, np.ndarray]]  # stream -> its feed, indices and epochs of the step


class Diverged(UserError):
    """The objective or a gradient became infinite or NaN; weights stay at the last finite step."""


class Engine:
    """Runs phases on a handle; resumes from the run's newest checkpoint."""

    def __init__(
        self,
        handle: Handle,
        run: Run,
        *,
        state: Callable[[], Mapping[str, Any]] = dict,
        load_state: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ):
        self.handle = handle
        self.run_ = run
        self.method_state = state
        self.load_method_state = load_state
        self.accelerator = accelerator(run)
        self.micro = run.train.micro_batch
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.done_steps = 0  # over all phases
        self.parameters: dict[str, nn.Parameter] = {}
        self.statistics: list[Tensor] = []  # running averages of batch norm, where the phase updates them
        self.started = time.perf_counter()
        self.earlier_s = 0.0  # time of the interrupted processes that this one continues

    # ---- the loop ---------------------------------------------------------------------------------------------
    def run(self, phases: Sequence[Phase]) -> None:
        """Run `phases` in order, continuing after the newest checkpoint."""
        with working(self.handle.module, self.run_.train.precision):
            self._run(phases)

    def _run(self, phases: Sequence[Phase]) -> None:
        if len({phase.name for phase in phases}) != len(phases):
            raise ValueError("phases need different names")
        self.handle.module.to(self.accelerator.device)
        if self.run_.train.gradient_checkpointing:
            _checkpoint_gradients(self.handle)
        start_phase, start_step = self._restore(phases)
        if self.accelerator.is_main_process and self.run_.train.trackers:
            self.accelerator.init_trackers("mmunlearn")
        try:
            for number, phase in enumerate(phases):
                if number >= start_phase:
                    self._phase(phase, number, start_step if number == start_phase else 0)
        finally:
            self.handle.module.eval()
            for parameter in self.handle.module.parameters():
                parameter.grad = None
            if self.run_.train.trackers:
                self.accelerator.end_training()

    def _phase(self, phase: Phase, number: int, start: int) -> None:
        feeds = {name: Feed(stream, self.run_.seed, name) for name, stream in phase.streams.items()}
        driver = phase.streams[phase.driver]
        orders = {name: stream.order or name for name, stream in phase.streams.items()}
        drives = {name: orders[name] == orders[phase.driver] for name in orders}
        if not len(driver.split):
            raise UserError(f"split {driver.split.name!r} is empty; phase {phase.name!r} has nothing to run on.")
        per_epoch = batches_per_epoch(len(driver.split), driver.batch_size, drop_last=driver.drop_last)
        epochs = phase.epochs
        total = per_epoch * epochs if phase.steps is None else phase.steps
        if phase.steps is not None:
            epochs = max(1, math.ceil(phase.steps / per_epoch))
        self.parameters = self._trainable(phase)
        optimiser = self._optimiser(phase)
        set_norm(self.handle.module, phase.norm)
        self.statistics = _statistics(self.handle.module) if phase.norm == "train" else []
        started = time.perf_counter()
        index = start
        while index < total:
            epoch, step = divmod(index, per_epoch)
            position = Step(phase.name, epoch, step, per_epoch, epochs, self.run_.seed)
            streams = {name: (feed, *feed.batch(position, driver=drives[name])) for name, feed in feeds.items()}
            self._step(phase, optimiser, streams, position)
            index += 1
            self.done_steps += 1
            stop = False
            if step == per_epoch - 1 or index == total:
                if phase.after_epoch is not None:
                    stop = bool(phase.after_epoch(self.handle, position))
                    set_norm(self.handle.module, phase.norm)
                if self.accelerator.is_main_process:
                    seconds = time.perf_counter() - started
                    self.run_.event("epoch", phase=phase.name, epoch=epoch, seconds=round(seconds, 3))
            if stop:
                index = total
            if self.done_steps % self.run_.train.checkpoint_every == 0:
                self._save(number, index, stop or index >= total)
        # A phase boundary is a checkpoint only when the period falls on it: short phases would write more than train.

    def _step(self, phase: Phase, optimiser: torch.optim.Optimizer, streams: Streams, position: Step) -> None:
        before = [buffer.clone() for buffer in self.statistics]
        while True:
            # Dropout and the like draw from torch's global generator: seeded per step, so a resume needs no saved
            # state, and again after a failed try.
            rank = self.accelerator.process_index
            torch.manual_seed(derive(self.run_.seed, "noise", phase.name, position.index, rank))
            try:
                values, norm = self._gradients(phase, streams, position)
                break
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._put_back(before)
                self._shrink(max(len(indices) for _, indices, _ in streams.values()), error)
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad or not math.isfinite(norm):
            optimiser.zero_grad(set_to_none=True)
            self._put_back(before)
            what = f"term {bad[0]!r} is {values[bad[0]]}" if bad else f"the gradient norm is {norm}"
            if self.accelerator.is_main_process:
                self.run_.event("diverged", phase=phase.name, step=position.index, what=what)
            raise Diverged(
                f"{phase.name}: {what} at step {position.index + 1} of {position.total}; weights are not stored.\n"
                f"Lower method.optimiser.lr (now {phase.spec.lr}) or set method.clip_norm."
            )
        if phase.clip_norm is not None and norm > phase.clip_norm:
            for parameter in self.parameters.values():
                if parameter.grad is not None:
                    parameter.grad.mul_(phase.clip_norm / (norm + 1e-6))
        if phase.adjust is not None:
            phase.adjust(self.parameters, position)
        factor = phase.rate(position) if phase.rate is not None else 1.0
        for group in optimiser.param_groups:
            group["lr"] = phase.spec.lr * factor
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if phase.after_step is not None:
            phase.after_step(self.handle, position)
        last = position.index == position.total - 1
        if self.accelerator.is_main_process and (position.index % self.run_.train.log_every == 0 or last):
            terms = {name: round(value, 6) for name, value in values.items()}
            self.run_.event(
                "step", phase=phase.name, epoch=position.epoch, step=position.index, of=position.total, terms=values,
                gradient_norm=norm, lr=phase.spec.lr * factor,
            )  # fmt: skip
            if self.run_.train.trackers:
                self.accelerator.log({f"{phase.name}/{k}": v for k, v in terms.items()}, step=self.done_steps)

    # ---- gradients of one step --------------------------------------------------------------------------------
    def _gradients(self, phase: Phase, streams: Streams, position: Step) -> tuple[dict[str, float], float]:
        """Fill every parameter's gradient; returns the terms' values and the gradient's norm, over all processes."""
        pieces = self._micro_batches(streams)
        totals = self._totals(list(streams), pieces)
        sums = StepSums(list(self.parameters.values()))
        failure: Exception | None = None
        try:
            for piece in pieces:
                self._piece(phase, piece, position, totals, sums)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or self.accelerator.num_processes == 1:
                raise
            failure = error
        self._agree(sums, failure)
        gradients = sums.gradients(phase.combine)
        for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
            parameter.grad = gradient
        norms = [g.detach().norm() for g in gradients if g is not None]
        norm = torch.stack(norms).norm().item() if norms else 0.0
        return {name: float(value) for name, value in sums.values.items()}, norm

    def _piece(
        self, phase: Phase, piece: Mapping[str, Batch], position: Step, totals: Mapping[str, float], sums: StepSums
    ) -> None:
        synced: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.accelerator.num_processes > 1 and phase.norm == "train" and self.statistics:
            from mmunlearn.synced_norm import SyncedNorm

            synced = SyncedNorm()
        with synced:  # the backward pass too: checkpointed layers are computed again there
            with self.accelerator.autocast():
                terms = phase.terms(self.handle, piece, position)
            losses: dict[str, Tensor] = {}
            for name, term in terms.items():
                loss = term.sum / self._denominator(name, term, totals)
                sums.note(name, loss, None if term.over else term.count)
                group = "" if term.over and phase.combine is None else name
                losses[group] = losses[group] + term.weight * loss if group in losses else term.weight * loss
            seen = [buffer.clone() for buffer in self.statistics] if self.run_.train.gradient_checkpointing else []
            sums.backward(losses)
            self._put_back(seen)

    def _micro_batches(self, streams: Streams) -> list[dict[str, Batch]]:
        """This process's part of the step: one batch of every stream for each of its forward passes."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        passes = forwards([len(indices) for _, indices, _ in streams.values()], world, self.micro)
        result = []
        for number in range(passes):
            piece = {}
            for name, (feed, indices, epochs) in streams.items():
                mine = part(len(indices), number * world + rank, passes * world)
                batch = feed.collate(self.handle, indices[mine], epochs[mine]).to(self.accelerator.device)
                if self.run_.train.precision == "double":
                    batch = replace(batch, tensors=doubled_inputs(batch.tensors))
                piece[name] = batch
            result.append(piece)
        return result

    def _totals(self, names: Sequence[str], pieces: Sequence[Mapping[str, Batch]]) -> dict[str, float]:
        """Items and examples of every stream that this step's forward passes see, over all processes."""
        local = [[float(sum(p[n].count.sum() for p in pieces)), float(sum(len(p[n]) for p in pieces))] for n in names]
        table = torch.tensor(local, dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            table = self.accelerator.reduce(table, "sum")
        rows = table.tolist()
        return {n: rows[i][0] for i, n in enumerate(names)} | {f"{n}.examples": rows[i][1] for i, n in enumerate(names)}

    def _denominator(self, name: str, term: Term, totals: Mapping[str, float]) -> float:
        if term.over:
            if term.over not in totals:
                raise ValueError(f"term {name!r} divides by {term.over!r}; streams of this phase: {sorted(totals)}")
            return max(totals[term.over], 1.0)
        if term.count is None:
            raise ValueError(f"term {name!r} names neither a stream nor a count")
        return 1.0  # its count is known when the step's last forward is: StepSums divides then

    def _agree(self, sums: StepSums, failure: Exception | None) -> None:
        """Sum values, counts and gradients over processes. Out of memory on one process is so on all."""
        if self.accelerator.num_processes == 1:
            return
        from accelerate.utils import gather_object

        told = gather_object([(failure is not None, list(sums.values), list(sums.counts), list(sums.groups))])
        if any(failed for failed, *_ in told):
            raise failure or torch.OutOfMemoryError("out of memory on another process")
        values, counts, groups = (sorted({n for other in told for n in other[i]}) for i in (1, 2, 3))
        device = self.accelerator.device
        numbers = [float(sums.values.get(n, 0.0)) for n in values] + [float(sums.counts.get(n, 0.0)) for n in counts]
        table = self.accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=device), "sum")
        sums.values = dict(zip(values, table[: len(values)], strict=True))
        sums.counts = dict(zip(counts, table[len(values) :], strict=True))
        sums.groups = {name: self._reduced(sums.groups.get(name)) for name in groups}

    def _reduced(self, gradients: Sequence[Tensor | None] | None) -> list[Tensor | None]:
        """Sum over processes in one flat message; None where no process has a gradient, as on one process."""
        parameters = list(self.parameters.values())
        gradients = gradients or [None] * len(parameters)
        used = torch.tensor([float(g is not None) for g in gradients], device=parameters[0].device)
        dense = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        # `float` is double where the run is in double precision.
        flat = self.accelerator.reduce(torch.cat([used, *(g.flatten().float() for g in dense)]), "sum")
        users, *parts = flat.split([len(parameters), *(p.numel() for p in parameters)])
        return [
            g.view_as(p).to(p.dtype) if n else None for g, p, n in zip(parts, parameters, users.tolist(), strict=True)
        ]

    # ---- set-up, memory, checkpoints --------------------------------------------------------------------------
    def _trainable(self, phase: Phase) -> dict[str, nn.Parameter]:
        chosen = {
            name: parameter
            for name, parameter in self.handle.trainable()
            if phase.trainable is None or name in phase.trainable
        }
        if not chosen:
            raise UserError(f"phase {phase.name!r} has no parameter to train. Check its trainable names.")
        return chosen

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer:
        if phase.optimiser not in self.optimisers:
            self.optimisers[phase.optimiser] = phase.spec.make(list(self.parameters.values()))
        return self.optimisers[phase.optimiser]

    def _shrink(self, largest: int, error: Exception) -> None:
        now = self.micro or math.ceil(largest / self.accelerator.num_processes)
        if now <= 1:
            raise UserError("out of memory with one example per forward. Use a smaller model or image size.") from error
        self.micro = now // 2
        for parameter in self.parameters.values():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not self.accelerator.is_main_process:
            return
        self.run_.event("out_of_memory", micro_batch=self.micro)
        log.warning("Out of memory: micro-batch is now %d, the effective batch stays the same.", self.micro)

    def _put_back(self, statistics: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for buffer, kept in zip(self.statistics, statistics, strict=False):
                buffer.copy_(kept)

    def state(self, phase: int, index: int) -> dict[str, Any]:
        """What a resume at step `index` of phase number `phase` needs; tensors are the live ones."""
        return {
            "position": [phase, index],
            "done_steps": self.done_steps,
            "seconds": self.earlier_s + time.perf_counter() - self.started,
            "module": self.handle.module.state_dict(),
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "method": dict(self.method_state()),
        }

    def _save(self, phase: int, index: int, phase_done: bool) -> None:
        if self.accelerator.is_main_process:
            self.run_.save(self.done_steps, self.state(phase + 1, 0) if phase_done else self.state(phase, index))
        self.accelerator.wait_for_everyone()

    def _restore(self, phases: Sequence[Phase]) -> tuple[int, int]:
        state = self.run_.latest()
        if state is None:
            return 0, 0
        self.handle.module.load_state_dict(state["module"])
        self.handle.module.to(self.accelerator.device)
        for name, stored in state["optimisers"].items():
            phase = next(p for p in phases if p.optimiser == name)
            self.parameters = self._trainable(phase)
            self._optimiser(phase).load_state_dict(stored)
        self.load_method_state(state["method"])
        self.done_steps, self.earlier_s = state["done_steps"], state["seconds"]
        if self.accelerator.is_main_process:
            self.run_.event("resumed", step=self.done_steps, seconds=round(self.earlier_s, 3))
        return state["position"][0], state["position"][1]


def set_norm(module: nn.Module, norm: NormMode) -> None:
    """train: batch statistics; frozen: train mode but stored statistics; eval: stored statistics, no dropout."""
    module.train(norm != "eval")
    if norm == "frozen":
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()


def _statistics(module: nn.Module) -> list[Tensor]:
    return [buffer for layer in module.modules() if isinstance(layer, _BatchNorm) for buffer in layer.buffers()]


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def _checkpoint_gradients(handle: Handle) -> None:
    for verb in ("set_grad_checkpointing", "gradient_checkpointing_enable"):
        if hasattr(handle.module, verb):
            getattr(handle.module, verb)()
            return
    raise UserError("train.gradient_checkpointing: this model offers none. Set it to false or choose another model.")
