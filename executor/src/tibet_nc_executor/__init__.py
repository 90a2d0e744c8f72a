# SPDX-License-Identifier: MIT
"""The privileged side: it owns the shell, the chain and the keys, and has no network."""
