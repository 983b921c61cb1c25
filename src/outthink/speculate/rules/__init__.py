"""Accept rules: which tokens of a draft are written."""

from outthink.speculate.rules.block import Block
from outthink.speculate.rules.match import Match
from outthink.speculate.rules.recursive import Recursive
from outthink.speculate.rules.rejection import Rejection

__all__ = ["Block", "Match", "Recursive", "Rejection"]
