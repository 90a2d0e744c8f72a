# SPDX-License-Identifier: MIT
"""From words to fields: braces, tilde, parameters, substitutions, splitting, quote removal."""

from tibet_nc_agent.safety.expand.arithmetic import assigned, evaluate, evaluated
from tibet_nc_agent.safety.expand.expander import Expander, Programs
from tibet_nc_agent.safety.expand.texts import as_document, as_prompt

__all__ = ["Expander", "Programs", "as_document", "as_prompt", "assigned", "evaluate", "evaluated"]
