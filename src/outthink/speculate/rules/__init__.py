"""Accept rules: which tokens of a draft are written."""

from outthink.speculate.rules.match import Match

__all__ = ["Match"]
