# SPDX-License-Identifier: MIT
"""What a vector is: one fact, the bytes that show it, and what a reader must make of them."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Reads(StrEnum):
    """Which reader a vector is for."""

    STREAM = "stream"
    REQUEST = "request"
    RESPONSE = "response"
    REQUESTS = "requests"
    ADMINISTRATION = "administration"
    RESPONSES = "responses"
    KEY = "key"
    SIGNATURE = "signature"
    RECORD = "record"
    CHAIN = "chain"
    PAYLOAD = "payload"
    RECORDING = "recording"
    PROOF = "proof"


class Layer(StrEnum):
    """The layer that must refuse; one that refuses earlier or later is wrong too."""

    FRAMING = "framing"
    KEY = "key"
    SIGNATURE = "signature"
    DECODE = "decode"
    CHAIN = "chain"
    RECORDING = "recording"
    PROOF = "proof"


SECTIONS = {
    Layer.FRAMING: "SPEC §2",
    Layer.KEY: "SPEC §3",
    Layer.SIGNATURE: "SPEC §3",
    Layer.DECODE: "SPEC §4",
    Layer.CHAIN: "SPEC §7",
    Layer.RECORDING: "SPEC §8",
    Layer.PROOF: "SPEC §7",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vector; ``facts`` is what case.json says beyond reader and layer."""

    name: str
    fact: str
    reads: Reads
    files: dict[str, bytes]
    refused_by: Layer | None = None
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """The directory's name, which says whether the vector must fail."""
        return self.name if self.refused_by is None else f"{self.name}_fail"

    def write(self, root: Path) -> None:
        """Write the vector's directory under a root."""
        directory = root / self.directory
        directory.mkdir()
        about = {"reads": self.reads, "refused_by": self.refused_by} | self.facts
        text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        (directory / "case.json").write_text(text, encoding="utf-8")
        (directory / "README.md").write_text(self._readme(), encoding="utf-8")
        for name, data in self.files.items():
            (directory / name).write_bytes(data)

    def _readme(self) -> str:
        if self.refused_by is None:
            verdict = "It must be accepted."
        else:
            verdict = f"It must be refused by: {self.refused_by} ({SECTIONS[self.refused_by]})."
        return f"# {self.directory}\n\n{self.fact}\n\n{verdict}\n"
