"""An endpoint inside an engine: what waits for it is sent at once, and results stream in.

Tokens are pieces of text that the backend's tokenizer has numbered, so that branches, forks, stops and
budgets work as on a local model; there is no cache to keep. What streams in is pushed piece by piece: a stop
text, a cap, a lost race or the end of a budget cancels the request at the endpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from outthink.core import rng
from outthink.core.errors import BadInput, CannotDo, OutthinkError
from outthink.core.jobs import Bill, Drawn, Ended, GenerateJob, Inbox, Piece, Restart, Scored, ScoreJob
from outthink.core.protocols import Backend
from outthink.core.receipt import Cost
from outthink.core.tree import Tree
from outthink.core.types import Can, Dist, Sampling
from outthink.core.work import Ask
from outthink.engine.flight import Reading, Work
from outthink.engine.stops import StopText
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.engine.request import Run

COUNTED = ("passes", "flops")  # what nobody can count from outside


@dataclass(slots=True, eq=False)
class Sent:
    """A job at the endpoint, and what has come of it."""

    job: GenerateJob | ScoreJob
    work: Work
    asks: list[int] = field(default_factory=list)  # of a Reading: which
    start: int = 0  # tokens that the stretch had before
    late: int = 0  # tokens that came after its end
    dollars: float = 0.0  # charged so far

    @property
    def got(self) -> int:
        """Tokens that have arrived."""
        return (self.work.count - self.start if isinstance(self.work, Stretch) else 0) + self.late


class RemotePlace:
    """An endpoint with what waits for it."""

    def __init__(self, backend: Backend) -> None:
        about = backend.about
        self.backend: Any = backend
        self.name, self.label = about.name, about.label
        self.vocab = about.vocab
        self.eos = about.eos
        self.context = about.context
        self.prices = about.prices
        self.directory = ""
        self.tokenizer: Any = backend.tokenizer
        self.can = backend.can
        self.tree = Tree(0)
        self.works: dict[Work, None] = {}
        self.served: dict[int, int] = {}
        self.sent: dict[int, Sent] = {}
        self.cache_bytes = 0.0

    def anew(self) -> RemotePlace:
        """The same endpoint with nobody waiting; what was sent is cancelled."""
        self.backend.cancel([sent.job for sent in self.sent.values()])
        return RemotePlace(self.backend)

    def check(self, run: Run) -> None:
        """Raise, before a token is spent, for what no endpoint can do; note what will not be measured."""
        budget = run.request.budget
        if run.speculator is not None:
            raise CannotDo(
                f"{self.name} is an endpoint: what it writes cannot be drafted here; leave speculate out"
            )
        uncountable = [name for name in COUNTED if name in budget.caps()]
        if uncountable:
            raise CannotDo(
                f"nobody can count the {uncountable[0]} of {self.name}; cap written, seconds or dollars"
            )
        if budget.dollars is not None and not self.backend.is_priced:
            raise BadInput(f"the prices of {self.name} are not known; give them: --prices INPUT,OUTPUT")
        self._check_sampling(run.request.sampling)
        for what, how in self.backend.estimates().items():
            run.estimate(what, how)

    def _check_sampling(self, sampling: Sampling) -> None:
        if sampling.warps:
            raise CannotDo(f"{self.name} cannot run warps of our own; a local model can")
        if sampling.stats:
            raise CannotDo(
                f"{self.name} does not give whole distributions: {sampling.stats[0]} needs a local model"
            )
        self.backend.refuse(sampling)

    # ---- sending

    def send(self, inbox: Inbox) -> list[tuple[Work, OutthinkError]]:
        """Submit what waits and is not under way; work that cannot be done here, with the reason."""
        under_way = {sent.work for sent in self.sent.values()}
        jobs: list[GenerateJob | ScoreJob] = []
        failed: list[tuple[Work, OutthinkError]] = []
        for work in [w for w in self.works if w not in under_way]:
            try:
                made = [self._generate(work)] if isinstance(work, Stretch) else self._score(work)
            except OutthinkError as error:
                failed.append((work, error))
                continue
            self.sent.update((sent.job.number, sent) for sent in made)
            jobs += [sent.job for sent in made]
        if jobs:
            self.backend.submit(jobs, inbox)
        return failed

    def _generate(self, work: Stretch) -> Sent:
        branch, sampling = work.branch, work.sampling
        self._check_sampling(sampling)
        if len(branch) and not self.can & Can.REWIND:
            raise CannotDo(
                f"{self.name} cannot go on after a text that was begun; one can that has /completions or "
                "continue_final_message"
            )
        is_free = work.begin + work.cap >= self.context and work.allowed == work.cap  # up to the context
        key = rng.purpose(branch.key, "token")
        job = GenerateJob(
            self.tree.tokens(branch.cursor),
            branch.origin,
            sampling,
            None if is_free else work.allowed - work.count,
            rng.bits(key, branch.cursor.length, 0) >> 1,  # 31 bits: what every server takes
            group=None
            if work.task.contestant
            else (work.run.number, branch.cursor.node, branch.cursor.offset),
            needs_logprobs=bool(work.run.needs & Can.LOGPROBS),
        )
        return Sent(job, work, start=work.count)

    def _score(self, work: Reading) -> list[Sent]:
        """One job for each chain of asks: the tokens of a forced continuation in one request."""
        chains: list[list[int]] = []
        for i, ask in work.left.items():
            self._check_ask(ask)
            last = work.work.asks[chains[-1][-1]] if chains else None
            if last is not None and self._follows(last, ask):
                chains[-1].append(i)
            else:
                chains.append([i])
        return [self._scoring(work, chain) for chain in chains]

    def _check_ask(self, ask: Ask) -> None:
        if ask.want.hidden:
            raise CannotDo(f"{self.name} does not give hidden states; a local model does")
        if ask.want.stats or ask.want.row:
            raise CannotDo(f"{self.name} does not give whole distributions; a local model does")
        needed = Can.SCORE if ask.want.token is not None else Can.LOGPROBS
        if not self.can & needed:
            what = "score given text" if needed is Can.SCORE else "give log-probabilities"
            raise CannotDo(
                f"{self.name} cannot {what}; a local model can, or an endpoint where probe finds it"
            )

    def _follows(self, last: Ask, ask: Ask) -> bool:
        """Whether `ask` is about the token after the one that `last` is about, on the same path."""
        if ask.cursor is not last.cursor or ask.length != last.length + 1 or ask.want.token is None:
            return False
        return self.tree.tokens(ask.cursor, last.length)[:1] == [last.want.token]

    def _scoring(self, work: Reading, chain: list[int]) -> Sent:
        asks = [work.work.asks[i] for i in chain]
        path = self.tree.tokens(asks[0].cursor)[: asks[0].length]
        given = [ask.want.token for ask in asks if ask.want.token is not None]
        top = max(ask.want.top for ask in asks)
        owner = work.work.owners[chain[0]] if work.work.owners else work.branch
        job = ScoreJob([*path, *given], min(owner.origin, len(path)), len(given), top)
        return Sent(job, work, chain)

    # ---- receiving

    def take(self, job: Any, event: Any) -> tuple[Work | None, list[int], BaseException | None]:
        """What an event means: the work that has ended by it, the tokens that it wrote, an error."""
        sent = self.sent.get(job.number)
        if sent is None:
            return None, [], None  # it was cancelled
        work = sent.work
        if isinstance(event, BaseException):
            return work, [], event
        if isinstance(work, Reading):
            return self._scored(sent, work, event), [], None
        before = len(work.branch)
        ended = self._heard(sent, work, event)
        tokens = work.branch.tokens[before:]
        if not ended:
            self._charge_so_far(sent)
        return work if ended else None, tokens, None

    def _heard(self, sent: Sent, work: Stretch, event: Any) -> bool:
        """Take an event of a stretch; whether the stretch has ended."""
        if isinstance(event, Restart):
            _restart(work, sent.start)
        elif isinstance(event, Ended):
            self._end(sent, work, event)
            return True
        else:
            for piece in event:
                _push(sent, work, piece)
            is_over = work.reason == "stop" and not self.backend.ends_at_stops
            if is_over or sent.late:
                self._cut_short(sent)
                return True
        return False

    def _end(self, sent: Sent, work: Stretch, ended: Ended) -> None:
        """The endpoint has ended a stretch: bring our count to its own, and settle the bill."""
        del self.sent[sent.job.number]
        self.works.pop(work, None)
        if ended.stopped_on and not work.reason:
            _push(sent, work, Piece(self.tokenizer.intern(ended.stopped_on), None))
        reason = work.reason
        told = ended.bill.written
        is_eos = ended.reason == "eos" and reason != "stop"
        for left in range((told or 0) - sent.got, 0, -1):  # tokens without text, the end token among them
            token = self.tokenizer.END if is_eos and left == 1 else self.tokenizer.EMPTY
            work.push(Drawn(token, math.nan, ()))
            work.branch.logps[-1] = None
        work.reason = reason if reason == "stop" else ended.reason
        if ended.reason == "length" and not reason and work.count >= work.allowed < work.cap:
            work.reason = ""  # it was cut at its reservation, and asks for more
        if told is not None and sent.got > told:
            work.run.estimate(
                "written", f"{self.name} reports fewer tokens than it streamed; ours are charged"
            )
        self._settle(sent, ended.bill)

    def _scored(self, sent: Sent, work: Reading, event: Scored) -> Work | None:
        del self.sent[sent.job.number]
        for i, dist in zip(sent.asks, event.dists, strict=True):
            work.dists[i] = Dist(dist.top, dist.logprob if work.work.asks[i].want.token is not None else None)
            del work.left[i]
        self._settle(sent, event.bill)
        if work.left:
            return None
        self.works.pop(work, None)
        return work

    # ---- stopping

    def forget(self, run: Run, is_last: bool) -> None:
        """A request has ended; nothing is kept of it here."""

    def drop(self, work: Work) -> None:
        """A piece of work no longer waits: its requests are cancelled at the endpoint."""
        self.works.pop(work, None)
        for sent in [s for s in self.sent.values() if s.work is work]:
            self._cut_short(sent)

    def _cut_short(self, sent: Sent) -> None:
        """Cancel a request; what it has cost can only be estimated."""
        del self.sent[sent.job.number]
        self.works.pop(sent.work, None)
        cost = self.backend.price(self._so_far(sent))
        self.backend.cancel([sent.job])
        if cost.positions:
            bill = Bill(cost.read, 0, None, sent.late, cost.dollars, cost.seconds, is_measured=False)
            self._settle(sent, bill)

    def _so_far(self, sent: Sent) -> GenerateJob | ScoreJob:
        return replace(sent.job, cap=sent.got) if isinstance(sent.job, GenerateJob) else sent.job

    # ---- money

    def dollars(self, read: int, written: int) -> float:
        """What so many tokens cost at the most: what is read is counted by us, with a margin."""
        return float(self.backend.dollars(read, written))

    def _charge_so_far(self, sent: Sent) -> None:
        """Dollars are charged as tokens arrive, so that a cap on them acts in mid-flight."""
        if self.backend.is_priced:
            dollars = self.backend.price(self._so_far(sent)).dollars
            sent.work.task.scope.charge_actual(Cost(dollars=dollars - sent.dollars))
            if sent.work.reservation is not None:
                sent.work.reservation.use("dollars", dollars - sent.dollars)
            sent.dollars = dollars

    def _settle(self, sent: Sent, bill: Bill) -> None:
        """The actual book: what the endpoint says that it took. Tokens of stretches are charged with them."""
        run, written = sent.work.run, sent.got if bill.written is None else bill.written
        positions = max(0, bill.read - bill.cached) + max(0, written - 1)
        sent.work.task.scope.charge_actual(
            Cost(
                written=bill.lost,
                discarded=bill.lost,
                positions=positions,
                seconds=bill.seconds,
                dollars=bill.dollars - sent.dollars,
            )
        )
        for what, why in bill.notes:
            run.degrade(what, why)
        if not bill.is_measured:
            run.estimate("actual", f"a request to {self.name} {_why(bill)}")


def _why(bill: Bill) -> str:
    """Why a bill is an estimate."""
    if bill.written is None:
        return "ended without usage: tokens counted as streamed"
    return "was sent again, or did not say what it read: that is counted by us"


def _push(sent: Sent, work: Stretch, piece: Piece) -> None:
    """Write a piece on the branch; what comes after the end is only counted."""
    if work.reason or work.is_starved():
        sent.late += 1
        return
    work.push(Drawn(piece.token, math.nan if piece.logprob is None else piece.logprob, ()))
    if piece.logprob is None:
        work.branch.logps[-1] = None


def _restart(work: Stretch, start: int) -> None:
    """Take a stretch back to its first `start` tokens."""
    branch, lost = work.branch, work.count - start
    branch.place.tree.rewind(branch.cursor, work.begin + start)
    keep = work.begin - branch.origin
    del branch.logps[keep + start :]
    work.count, work.reason = start, ""
    work.logprob = sum(math.nan if p is None else p for p in branch.logps[keep:])
    if work.task.contestant is not None:
        work.task.write(-lost)
    if work.stops is not None:
        work.stops = StopText(branch.place.tokenizer.detokenizer(), work.sampling.stop)
        for token in branch.place.tree.tokens(branch.cursor, work.begin):
            work.stops.push(token)
