# SPDX-License-Identifier: MIT
"""The auditor's tool: files in, verdict out. It writes nothing but what it is told to export."""
