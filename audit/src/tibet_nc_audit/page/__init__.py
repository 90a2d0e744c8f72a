# SPDX-License-Identifier: MIT
"""One HTML file that shows a chain and checks it in the browser, without a network.

The scripts and the style beside this are put into the file as they are; the policy in it permits
them by their digests, and nothing else.
"""

from tibet_nc_audit.page.writer import html_lines

__all__ = ["html_lines"]
