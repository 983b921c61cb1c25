"""Train the reward head of `prm()` on rollouts: how likely a solution ends right, after each of its steps.

python recipes/reward_head.py --rollouts A.jsonl B.jsonl --model pocket --out src/outthink/weights/pocket/prm

Input: what `prm()` looks at after each step, at the prompt's end, and at one token inside each sample. Label:
whether that very sample ended right, one Monte Carlo rollout a prefix; over many problems the least logistic
loss is P(right | prefix). 1 problem of 10 is held out; the epoch of least held-out loss stays.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import outthink as ot
from outthink.core.fingerprint import fingerprint
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.verify._reward_head import FEATURES, KIND, Stop, likelihoods, stops

SEPARATOR = "\n"


class Rows(NamedTuple):
    """Inputs of the head [rows, width], labels [rows], and the number of each row's problem [rows]."""

    states: Tensor
    right: Tensor
    problem: Tensor


@dataclass(frozen=True)
class States:
    """Puts recorded samples after their prompt and reads what a head learns from."""

    samples: tuple[tuple[int, ...], ...]
    inside: tuple[int, ...]  # a place inside each sample, where a cap might have cut it

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        async def one(branch: ot.Branch, tokens: Sequence[int], inside: int) -> list[tuple[float, ...]]:
            await branch.extend(tokens, ot.Want())
            steps = stops(branch, branch.text(), SEPARATOR)
            cut = [*(s for s in steps if s.end < inside), Stop(inside, inside)]
            found = [(s, row) for s, row in zip(steps, likelihoods(branch.logps, steps), strict=True)]
            found += [
                (Stop(0, 0), likelihoods((), [Stop(0, 0)])[0]),
                (cut[-1], likelihoods(branch.logps, cut)[-1]),
            ]
            states = await branch.hidden([stop.at for stop, _ in found])
            return [(*state, *row) for state, (_, row) in zip(states, found, strict=True)]

        branches = root.fork(len(self.samples))
        found = await ot.gather(*map(one, branches, self.samples, self.inside))
        return ot.Answer("", others=tuple(ot.Answer("", stats={"states": rows}) for rows in found))


def read(engine: Engine, records: Sequence[dict[str, Any]], seed: int) -> Rows:
    """The rows of all samples."""
    draw = random.Random(seed)
    requests = [
        Request(
            States(
                tuple(tuple(t for t in w if t not in engine.main.eos) for w in r["written"]),
                tuple(draw.randrange(1, len(w)) if len(w) > 1 else 0 for w in r["written"]),
            ),
            "-",
            tokens=tuple(r["prompt"]),
            tag=i,
        )
        for i, r in enumerate(records)
    ]
    states, right, problem = [], [], []
    for done in engine.map(requests):
        if done.error is not None:
            raise done.error
        number = done.request.tag
        for label, sample in zip(records[number]["right"], done.answer.others, strict=True):
            rows = torch.tensor(sample.stats["states"])
            states.append(rows)
            right.append(torch.full((len(rows),), float(label)))
            problem.append(torch.full((len(rows),), number))
    return Rows(torch.cat(states), torch.cat(right), torch.cat(problem))


def network(rows: Rows, hidden: int) -> nn.Sequential:
    """Norms the inputs, then two layers."""
    mean, spread = rows.states.mean(0), rows.states.std(0) + 1e-6
    norm = nn.Linear(rows.states.shape[1], rows.states.shape[1])
    norm.weight.data, norm.bias.data = torch.diag(1 / spread), -mean / spread
    norm.requires_grad_(False)
    return nn.Sequential(
        norm, nn.Dropout(0.1), nn.Linear(len(mean), hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 1)
    )


def batches(rows: Rows, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order."""
    for places in torch.randperm(len(rows.right), generator=generator).split(size):
        yield rows.states[places], rows.right[places]


def loss(net: nn.Sequential, states: Tensor, right: Tensor) -> Tensor:
    """Mean logistic loss."""
    return nn.functional.binary_cross_entropy_with_logits(net(states)[:, 0], right)


def train(rows: Rows, opts: argparse.Namespace) -> tuple[nn.Sequential, dict[str, Any]]:
    """The network of least held-out loss, and how it went."""
    torch.manual_seed(opts.seed)
    generator = torch.Generator().manual_seed(opts.seed)
    out = rows.problem % 10 == 0
    held = Rows(*(part[out] for part in rows))
    kept = Rows(*(part[~out] for part in rows))
    net = network(kept, opts.hidden)
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=opts.rate, weight_decay=opts.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, opts.epochs)
    best, history, state = float("inf"), [], {}
    for epoch in range(opts.epochs):
        net.train()
        losses = []
        for states, right in batches(kept, 512, generator):
            optimizer.zero_grad()
            one = loss(net, states, right)
            one.backward()
            optimizer.step()
            losses.append(one.item())
        schedule.step()
        net.eval()
        with torch.inference_mode():
            found = loss(net, held.states, held.right).item()
        history.append({"epoch": epoch, "train": sum(losses) / len(losses), "held_out": found})
        print(json.dumps(history[-1]), flush=True)
        if found < best:
            best, state = found, {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(state)
    share = held.right.mean().item()
    constant = nn.functional.binary_cross_entropy(torch.full_like(held.right, share), held.right).item()
    return net, {
        "rows": len(kept.right),
        "held_out_rows": len(held.right),
        "held_out_loss": best,
        "constant_loss": constant,
        "history": history,
    }


def save(net: nn.Sequential, engine: Engine, folder: Path) -> None:
    """Fold the norm into the first layer, and write config.json and model.safetensors."""
    norm, first, second = net[0], net[2], net[5]
    weight = first.weight.double() @ norm.weight.double()
    bias = first.weight.double() @ norm.bias.double() + first.bias.double()
    tensors = {
        "first.weight": weight,
        "first.bias": bias,
        "second.weight": second.weight,
        "second.bias": second.bias,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    config = {
        "kind": KIND,
        "model": engine.main.name,
        "fingerprint": fingerprint(engine.main.directory),
        "width": weight.shape[1] - FEATURES,
        "hidden": weight.shape[0],
        "separator": SEPARATOR,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--states", type=Path, help="keep the states here, and use them if they are there")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Train and save."""
    opts = options()
    torch.set_num_threads(1)
    engine = ot.load(opts.model, threads=1)
    records = [json.loads(text) for path in opts.rollouts for text in path.read_text().splitlines()]
    if opts.states and opts.states.exists():
        rows = Rows(*torch.load(opts.states))
    else:
        rows = read(engine, records, opts.seed)
        if opts.states:
            torch.save(tuple(rows), opts.states)
    net, state = train(rows, opts)
    save(net, engine, opts.out)
    state |= {
        "epochs": opts.epochs,
        "problems": len(records),
        "samples": sum(len(r["right"]) for r in records),
        "seed": opts.seed,
    }
    (opts.out / "training.json").write_text(json.dumps(state, indent=1) + "\n")


if __name__ == "__main__":
    main()
