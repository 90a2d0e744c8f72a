# SPDX-License-Identifier: MIT
"""The journal's MESSAGE_ID of each kind of record, made once at random, never changed."""

from types import MappingProxyType
from typing import Final

SYSLOG_IDENTIFIER: Final = "tibet-nc-executor"

MESSAGE_IDS: Final = MappingProxyType(
    {
        "genesis": "6d060be7f0e34710989a992c67dcd3e9",
        "intent": "aba423b797e24250a706818912cdc9dd",
        "outcome": "3bc04824c06e47ce98f8b839d5e867a1",
        "aborted": "4f4701e29ca1486f80457db5e81fb805",
        "remainder": "2ffd0d77bfe396a457d6179a5274df96",
        "refusal": "0bf448871d8f42e3a0d6949fad93dcfc",
        "security": "6e30215c06554e9eb0c97f5317976074",
        "session": "36cb8533d0af4207a6e0b19114603c7a",
        "checkpoint": "651150a4fb4d461ba2f1e7b1e2dd05e3",
        "key": "a1bbba6f5ef64332b69b8f78db15e81c",
    }
)
