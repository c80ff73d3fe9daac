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
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Handle, View
from mmunlearn.order import Order, batches_per_epoch, share
from mmunlearn.phases import NormMode, Phase, Step, Stream, Term
from mmunlearn.run import Run
from mmunlearn.seeds import derive

log = logging.getLogger(__name__)


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

    # ---- the loop ---------------------------------------------------------------------------------------------
    def run(self, phases: Sequence[Phase]) -> None:
        """Run `phases` in order, continuing after the newest checkpoint."""
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
        feeds = {name: _Feed(stream, self.run_.seed, name) for name, stream in phase.streams.items()}
        driver = phase.streams[phase.driver]
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
        started = time.perf_counter()
        index = start
        while index < total:
            epoch, step = divmod(index, per_epoch)
            position = Step(phase.name, epoch, step, per_epoch, epochs, self.run_.seed)
            batches = {
                name: feed.batch(position, driver=name == phase.driver) for name, feed in feeds.items()
            }  # name -> (indices, epochs)
            self._step(phase, optimiser, batches, position)
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

    def _step(
        self,
        phase: Phase,
        optimiser: torch.optim.Optimizer,
        batches: Mapping[str, tuple["_Feed", np.ndarray, np.ndarray]],
        position: Step,
    ) -> None:
        # Dropout and the like draw from torch's global generator: seeded per step, so a resume needs no saved state.
        torch.manual_seed(derive(self.run_.seed, "noise", phase.name, position.index, self.accelerator.process_index))
        while True:
            try:
                values, norm = self._gradients(phase, batches, position)
                break
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink(max(len(indices) for _, indices, _ in batches.values()), error)
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad or not math.isfinite(norm):
            optimiser.zero_grad(set_to_none=True)
            what = f"term {bad[0]!r} is {values[bad[0]]}" if bad else f"the gradient norm is {norm}"
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
    def _gradients(
        self, phase: Phase, batches: Mapping[str, tuple["_Feed", np.ndarray, np.ndarray]], position: Step
    ) -> tuple[dict[str, float], float]:
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = {
            name: (feed, share(indices, rank, world), share(epochs, rank, world))
            for name, (feed, indices, epochs) in batches.items()
        }
        pieces = self._micro_batches(mine)
        totals = self._counts(mine, pieces)
        for parameter in self.parameters.values():
            parameter.grad = None
        values: dict[str, Tensor] = {}
        separate: dict[str, list[Tensor]] = {}
        synced: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if world > 1 and phase.norm == "train" and _has_batch_norm(self.handle.module):
            from mmunlearn.synced_norm import SyncedNorm

            synced = SyncedNorm()
        for piece in pieces:
            with self.accelerator.autocast(), synced:
                terms = phase.terms(self.handle, piece, position)
            losses = {}
            for name, term in terms.items():
                scale = self._denominator(name, term, totals)
                loss = term.sum / scale
                losses[name] = term.weight * loss
                part = loss.detach().to(torch.float64)
                values[name] = values.get(name, torch.zeros_like(part)) + part
            if phase.combine is None:
                self._backward(sum(losses.values()))
            else:
                for name, loss in losses.items():
                    kept = [p.grad for p in self.parameters.values()]
                    for parameter, gradient in zip(self.parameters.values(), separate.get(name, kept), strict=True):
                        parameter.grad = gradient if name in separate else None
                    self._backward(loss, retain=True)
                    separate[name] = [p.grad for p in self.parameters.values()]  # type: ignore[misc]
        if phase.combine is not None:
            reduced = {name: self._reduced(gradients) for name, gradients in separate.items()}
            for parameter, gradient in zip(self.parameters.values(), phase.combine(reduced), strict=True):
                parameter.grad = gradient
        else:
            gradients = [p.grad for p in self.parameters.values()]
            if world > 1:
                for parameter, gradient in zip(self.parameters.values(), self._reduced(gradients), strict=True):
                    parameter.grad = gradient
        if world > 1:
            # A rank without examples of a stream in this step has no such term: agree on names before reducing.
            names = sorted({name for group in _gather_objects(list(values)) for name in group})
            device = self.accelerator.device
            stacked = torch.stack([values.get(n, torch.zeros((), dtype=torch.float64, device=device)) for n in names])
            values = dict(zip(names, self.accelerator.reduce(stacked, "sum"), strict=True))
        norms = [p.grad.detach().norm() for p in self.parameters.values() if p.grad is not None]
        norm = torch.stack(norms).norm().item() if norms else 0.0
        return {name: float(value) for name, value in values.items()}, norm

    def _backward(self, loss: Tensor | int, *, retain: bool = False) -> None:
        if isinstance(loss, Tensor) and loss.requires_grad:
            loss.backward(retain_graph=retain)

    def _reduced(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Sum over processes, in one flat message; a parameter unused on every process keeps a zero gradient."""
        parameters = list(self.parameters.values())
        dense = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        if self.accelerator.num_processes == 1:
            return dense
        flat = torch.cat([g.flatten() for g in dense])
        flat = self.accelerator.reduce(flat, "sum")
        return [
            part.view_as(p) for part, p in zip(flat.split([p.numel() for p in parameters]), parameters, strict=True)
        ]

    def _micro_batches(self, mine: Mapping[str, tuple["_Feed", np.ndarray, np.ndarray]]) -> list[dict[str, Batch]]:
        longest = max(len(indices) for _, indices, _ in mine.values())
        pieces = 1 if self.micro is None else max(1, math.ceil(longest / self.micro))
        if self.accelerator.num_processes > 1:
            pieces = int(self.accelerator.gather(torch.tensor([pieces], device=self.accelerator.device)).max())
        result = []
        for part in range(pieces):
            batches = {}
            for name, (feed, indices, epochs) in mine.items():
                chosen = np.array_split(np.arange(len(indices)), pieces)[part]
                if len(chosen):
                    batches[name] = feed.collate(self.handle, indices[chosen], epochs[chosen])
            if batches:
                result.append({name: batch.to(self.accelerator.device) for name, batch in batches.items()})
        return result

    def _counts(self, mine: Mapping[str, Any], pieces: Sequence[Mapping[str, Batch]]) -> dict[str, float]:
        """Items and examples of every stream in this step, over all processes."""
        names = sorted(mine)
        local = [[float(sum(p[n].count.sum() for p in pieces if n in p)), float(len(mine[n][1]))] for n in names]
        table = torch.tensor(local, dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            table = self.accelerator.reduce(table, "sum")
        rows = table.tolist()
        return {n: rows[i][0] for i, n in enumerate(names)} | {f"{n}.examples": rows[i][1] for i, n in enumerate(names)}

    def _denominator(self, name: str, term: Term, totals: Mapping[str, float]) -> float | Tensor:
        if term.over:
            if term.over not in totals:
                raise ValueError(f"term {name!r} divides by {term.over!r}; streams of this phase: {sorted(totals)}")
            return max(totals[term.over], 1.0)
        if term.count is None:
            raise ValueError(f"term {name!r} names neither a stream nor a count")
        count = term.count.detach().to(torch.float64)
        if self.accelerator.num_processes > 1:
            count = self.accelerator.reduce(count, "sum")
        return count.clamp(min=1.0).to(term.sum.dtype)

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
        self.run_.event("out_of_memory", micro_batch=self.micro)
        log.warning("Out of memory: micro-batch is now %d, the effective batch stays the same.", self.micro)

    def _save(self, phase: int, index: int, phase_done: bool) -> None:
        if self.accelerator.is_main_process:
            position = [phase + 1, 0] if phase_done else [phase, index]
            self.run_.save(
                self.done_steps,
                {
                    "position": position,
                    "done_steps": self.done_steps,
                    "module": self.handle.module.state_dict(),
                    "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
                    "method": dict(self.method_state()),
                },
            )
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
        self.done_steps = state["done_steps"]
        if self.accelerator.is_main_process:
            self.run_.event("resumed", step=self.done_steps)
        return state["position"][0], state["position"][1]


class _Feed:
    """Batches of one stream at any position."""

    def __init__(self, stream: Stream, seed: int, name: str):
        self.stream = stream
        self.order = Order(len(stream.split), seed, name, stream.shuffle)
        self.seed = seed

    def batch(self, position: Step, *, driver: bool) -> tuple["_Feed", np.ndarray, np.ndarray]:
        """Indices and epochs of the global batch at `position`."""
        size = self.stream.batch_size
        if driver:
            # Epochs count on over phases of one name prefix through the phase's own name, which is part of the seed.
            order = self.order.epoch(position.epoch + _offset(position.phase))
            indices = order[position.step * size : (position.step + 1) * size]
            return self, indices, np.full(len(indices), position.epoch + _offset(position.phase))
        if not len(self.stream.split):
            raise UserError(f"split {self.stream.split.name!r} is empty; phase {position.phase!r} needs it.")
        start = position.index * size + _offset(position.phase) * len(self.stream.split)
        return self, *self.order.take(start, size)

    def collate(self, handle: Handle, indices: np.ndarray, epochs: np.ndarray) -> Batch:
        """The examples at `indices`, relabelled if the stream says so, in training views if it asks for them."""
        examples = [self.stream.split[int(i)] for i in indices]
        if self.stream.relabel is not None:
            examples = [self.stream.relabel(e, int(k)) for e, k in zip(examples, epochs, strict=True)]
        return handle.collate(examples, View(self.seed, epochs) if self.stream.augment else None)


def _offset(phase: str) -> int:
    """Epochs by which a phase called "<name>@<number>" is ahead, so that repeated phases see new orders and views."""
    _, at, number = phase.rpartition("@")
    return int(number) if at and number.isdigit() else 0


def accelerator(run: Run) -> Accelerator:
    """The accelerator for a run's settings; accelerate's own gradient accumulation stays at one."""
    train = run.train
    if train.threads:
        torch.set_num_threads(train.threads)
    if train.determinism == "strict":
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = train.determinism == "off"
    torch.backends.cudnn.deterministic = train.determinism != "off"
    options: dict[str, Any] = {"mixed_precision": train.precision}
    if train.trackers:
        options |= {"log_with": list(train.trackers), "project_dir": str(run.path)}
    return Accelerator(cpu=train.device == "cpu", **options)


def set_norm(module: nn.Module, norm: NormMode) -> None:
    """train: batch statistics; frozen: train mode but stored statistics; eval: stored statistics, no dropout."""
    module.train(norm != "eval")
    if norm == "frozen":
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def _gather_objects(names: list[str]) -> list[list[str]]:
    from accelerate.utils import gather_object

    return [list(group) for group in gather_object([names])]


def _checkpoint_gradients(handle: Handle) -> None:
    for verb in ("set_grad_checkpointing", "gradient_checkpointing_enable"):
        if hasattr(handle.module, verb):
            getattr(handle.module, verb)()
            return
    raise UserError("train.gradient_checkpointing: this model offers none. Set it to false or choose another model.")
