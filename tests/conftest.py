# SPDX-License-Identifier: MIT
"""What all tests have in common: no example fails because the machine was busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
