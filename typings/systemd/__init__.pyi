# SPDX-License-Identifier: MIT
# What is used of systemd-python, which has no type information.
