# SPDX-License-Identifier: MIT
"""tibet-nc on a real Debian 13 under systemd."""
