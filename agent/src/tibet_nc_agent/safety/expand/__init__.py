# SPDX-License-Identifier: MIT
"""From words to fields: braces, tilde, parameters, substitutions, splitting, quote removal."""

from tibet_nc_agent.safety.expand.expander import Expander, Programs, as_document

__all__ = ["Expander", "Programs", "as_document"]
