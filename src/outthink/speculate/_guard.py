"""A source among others: what it does wrong costs its own draft, and is said once of it alone."""

from __future__ import annotations

from typing import Any

from outthink.core.draft import Draft, flaw
from outthink.core.drafting import Outcome, Source, Studio, Tip


class Guard:
    """A source whose errors go no further than `tip.complain`, and whose drafts are sound or None."""

    def __init__(self, source: Source, studio: Studio) -> None:
        self.source, self.vocab, self.is_weighed = source, studio.vocab, not studio.shares_noise
        self.name, self.tops = source.name, source.tops

    def __getattr__(self, name: str) -> Any:
        """Whatever else a source may have: `think`, `is_warm`, `state_bytes`."""
        return getattr(self.source, name)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        try:
            draft = self.source.propose(tip, depth, nodes)
            if draft is None:
                return None
            wrong = flaw(draft, self.vocab, nodes) or (self._unsound(draft) if self.is_weighed else "")
        except Exception as error:  # whatever it does wrong, the others go on
            wrong = f"{type(error).__name__}: {error}"
        if not wrong:
            return draft
        tip.complain(wrong, self.name)
        return None

    def _unsound(self, draft: Draft) -> str:
        from outthink.speculate.rules._rows import unsound  # numpy, where it is needed

        return unsound(draft, self.vocab)

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        try:
            self.source.observe(tip, outcome)
        except Exception as error:
            tip.complain(f"{type(error).__name__}: {error}", self.name)

    def end(self, tip: Tip) -> None:
        try:
            self.source.end(tip)
        except Exception as error:
            tip.complain(f"{type(error).__name__}: {error}", self.name)
