"""Verifiers: what judges answers. File name = method name = lookup name."""

from outthink.verify.certainty import Certainty
from outthink.verify.exact import Exact
from outthink.verify.likelihood import Likelihood
from outthink.verify.recorded import Recorded
from outthink.verify.steps import Steps

__all__ = ["Certainty", "Exact", "Likelihood", "Recorded", "Steps"]
