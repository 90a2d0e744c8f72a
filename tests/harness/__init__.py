# SPDX-License-Identifier: MIT
"""Real counterparts for the tests, the demo and the benchmark: a homeserver and an operator."""

from tests.harness.operator import Operator, Seen
from tests.harness.synapse import Account, Answer, Synapse, SynapseError

__all__ = ["Account", "Answer", "Operator", "Seen", "Synapse", "SynapseError"]
