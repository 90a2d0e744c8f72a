# SPDX-License-Identifier: MIT

from tibet_nc_agent.canonical import JsonObject

class ToDeviceMessage:
    type: str
    def as_dict(self) -> dict[str, JsonObject]: ...
