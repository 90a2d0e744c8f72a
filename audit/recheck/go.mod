// SPDX-License-Identifier: MIT

module tibet-nc-recheck

go 1.24
