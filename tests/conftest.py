# SPDX-License-Identifier: MIT
"""What all tests have in common: none fails because the machine was busy, or by who runs it."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

os.umask(0o022)  # other uids read what tests make; root's own may be stricter
