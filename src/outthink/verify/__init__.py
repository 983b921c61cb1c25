"""Verifiers: what judges answers. File name = method name = lookup name."""

from outthink.verify.certainty import Certainty
from outthink.verify.combine import Combine
from outthink.verify.exact import Exact
from outthink.verify.judge import Judge
from outthink.verify.likelihood import Likelihood
from outthink.verify.prm import Prm
from outthink.verify.recorded import Recorded
from outthink.verify.reward_model import RewardModel
from outthink.verify.self_eval import SelfEval
from outthink.verify.steps import Steps
from outthink.verify.unit_tests import UnitTests

__all__ = [
    "Certainty",
    "Combine",
    "Exact",
    "Judge",
    "Likelihood",
    "Prm",
    "Recorded",
    "RewardModel",
    "SelfEval",
    "Steps",
    "UnitTests",
]
