# SPDX-License-Identifier: MIT
"""What agent, executor and auditor agree on; SPEC.md beside this package is the contract.

No module here touches a socket, a file, a clock or a source of randomness.
"""
