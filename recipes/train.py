"""Train a model on the task families, for a given number of minutes, on one or more cores or a GPU.

python recipes/train.py --model pocket --tokenizer DIR --out DIR --minutes 90 --procs 2
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from data import Stream, tokenizer_in
from llama import SHAPES, Llama
from torch import Tensor, nn


@dataclass
class State:
    """What a checkpoint tells about how far training is."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0  # running mean


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(SHAPES), default="pocket")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoints and log; resumed if there is one"
    )
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--procs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=4096, help="cells of a batch of one process")
    parser.add_argument(
        "--muon", type=float, default=0.02, help="learning rate of the matrices; 0: AdamW for all"
    )
    parser.add_argument("--adam", type=float, default=0.003, help="learning rate of everything else")
    parser.add_argument(
        "--decay", type=float, default=0.4, help="share of the time over which the rate falls to 0"
    )
    parser.add_argument("--warmup", type=int, default=100, help="steps until the full rate")
    parser.add_argument(
        "--tau", type=float, nargs=2, default=(1.5, 6.5), help="spread of levels, first and last"
    )
    parser.add_argument(
        "--shares", default="1,1,1,1", help="documents of steps, countdown, paths, procedures"
    )
    parser.add_argument("--first", type=Path, help="checkpoint whose weights a new run starts from")
    parser.add_argument("--every", type=float, default=180, help="seconds between checkpoints")
    parser.add_argument("--port", default="29511")
    return parser.parse_args()


def schedule(done: float, step: int, decay: float, warmup: int) -> float:
    """Rate factor after a share `done` of the time: warm-up steps, flat, then linearly to 0."""
    return min(1.0, (step + 1) / warmup, max(0.0, (1 - done) / decay))


def optimizers(model: Llama, muon: float, adam: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (if asked for), AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and muon]
    ids = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in ids]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    ]
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=muon, weight_decay=0.01, ns_steps=5))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["base"] = group["lr"]
    return made


def average(model: nn.Module, loss: Tensor, count: int, world: int) -> tuple[float, int]:
    """Sum gradients, loss and counts over all processes, then divide by the number of scored tokens."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients] + [torch.stack((loss, loss.new_tensor(float(count))))])
    if world > 1:
        dist.all_reduce(flat)
    total, scored = float(flat[-2]), int(flat[-1])
    norm = flat[:-2].norm() / scored
    flat[:-2] /= scored * max(1.0, float(norm))
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return total / scored, scored


class Trainer:
    """One process of the training."""

    def __init__(self, rank: int, opts: argparse.Namespace) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(1)
        self.rank, self.opts, self.state = rank, opts, State()
        self.model = Llama(SHAPES[opts.model]).to(opts.device)
        self.smooth = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimizers = optimizers(self.model, opts.muon, opts.adam)
        self.resume()
        seed = 1 + self.state.step  # a resumed run reads new problems
        self.stream = Stream(tokenizer_in(opts.tokenizer), rank, opts.procs, opts.tokens, seed)
        self.stream.mix([float(share) for share in opts.shares.split(",")])
        self.batches = self.stream.batches()

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return Path(self.opts.out) / "last.pt"

    def resume(self) -> None:
        """Go on from the run's checkpoint; if there is none, start from the weights of `--first` if given."""
        if self.opts.first and not self.path.exists():
            saved = torch.load(self.opts.first, map_location=self.opts.device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.smooth = saved["smooth"]
        if self.path.exists():
            saved = torch.load(self.path, map_location=self.opts.device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.smooth = saved["smooth"]
            for optimizer, kept in zip(self.optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            self.state = State(**saved["state"])

    def save(self) -> None:
        """Write the checkpoint in one move."""
        kept = [optimizer.state_dict() for optimizer in self.optimizers]
        record = {"model": self.model.state_dict(), "smooth": self.smooth, "optimizers": kept}
        torch.save({**record, "state": asdict(self.state), "name": self.opts.model}, f"{self.path}.new")
        os.replace(f"{self.path}.new", self.path)

    def step(self, done: float) -> None:
        """One batch: gradients, rates, update, running average of the weights."""
        first, last = self.opts.tau
        self.stream.tau = first + (last - first) * done
        tokens, labels = (t.to(self.opts.device) for t in next(self.batches))
        with torch.autocast(torch.device(self.opts.device).type, dtype=torch.bfloat16):
            loss = self.model(tokens, labels)
        loss.backward()
        mean, _ = average(self.model, loss.detach(), int((labels >= 0).sum()), self.opts.procs)
        factor = schedule(done, self.state.step, self.opts.decay, self.opts.warmup)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        keep = min(0.998, self.state.step / (self.state.step + 10))
        for name, weight in self.model.state_dict().items():
            self.smooth[name].lerp_(weight, 1 - keep)
        self.state.step += 1
        self.state.tokens += tokens.numel() * self.opts.procs
        self.state.loss += (mean - self.state.loss) * max(0.02, 1 / self.state.step)

    def clock(self, start: float) -> float:
        """Seconds so far, the same number in every process."""
        now = torch.tensor([time.monotonic() - start], dtype=torch.float64)
        if self.opts.procs > 1:
            dist.broadcast(now, 0)
        return float(now)

    def run(self) -> None:
        """Train until the minutes are over."""
        start = time.monotonic() - self.state.seconds
        saved, limit = self.state.seconds, self.opts.minutes * 60
        while (seconds := self.clock(start)) < limit:
            self.state.seconds = seconds
            self.step(seconds / limit)
            if self.rank == 0 and self.state.step % 50 == 0:
                print(json.dumps({k: round(v, 4) for k, v in asdict(self.state).items()}), flush=True)
            if self.rank == 0 and seconds - saved > self.opts.every:
                saved = seconds
                self.save()
        if self.rank == 0:
            self.save()


def work(rank: int, opts: argparse.Namespace) -> None:
    """Body of one process."""
    if opts.procs > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=opts.port)
        dist.init_process_group("gloo", rank=rank, world_size=opts.procs)
    Trainer(rank, opts).run()
    if opts.procs > 1:
        dist.destroy_process_group()


def main() -> None:
    """Start the processes."""
    opts = options()
    opts.out.mkdir(parents=True, exist_ok=True)
    if opts.procs == 1:
        work(0, opts)
    else:
        torch.multiprocessing.spawn(work, args=(opts,), nprocs=opts.procs)


if __name__ == "__main__":
    main()
