# SPDX-License-Identifier: MIT
"""The chain against what others kept of it: the journal, and a room that a client exported.

``discrepancies`` is what a comparison finds, ``copy`` the chain in the form that is compared,
``exports`` reads journal files and ``journal`` compares them; ``messages`` reads rooms and ``room``
compares those; ``text`` says it to people.
"""
