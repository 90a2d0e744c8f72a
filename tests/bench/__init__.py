# SPDX-License-Identifier: MIT
"""The benchmark: tibet-nc beside what a user would pick instead, in one run on one machine.

    python -m tests.bench [--quick] [--rows GROUP ...] [--output bench.json]
    python -m tests.bench --trace 'df -h'

Nothing is asserted here and no test depends on it. Machines are shared, so a figure means little
by itself; the ratios between figures of the same run do.
"""
