# SPDX-License-Identifier: MIT
"""How Hypothesis runs here: for as long as it needs, on a machine that others use too."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
