# SPDX-License-Identifier: MIT
"""What starts commands in sessions, and has one ready before it is asked for."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tibet_nc_executor.cage import Cage
from tibet_nc_executor.command import Command
from tibet_nc_executor.door import Door
from tibet_nc_executor.enclosure import Remains
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.outlet import OnOutput
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.settings import ShellSettings


class Shell:
    """What starts commands; one for the whole executor. Raises ShellError if it cannot work."""

    def __init__(self, settings: ShellSettings) -> None:
        self.cage: Final = Cage(settings)
        self._ready: Door | None = None
        self._spare: SessionShell | None = None
        self._fresh: frozenset[bytes] = frozenset()

    async def clear(self) -> Remains:
        """End what an executor that is gone has left running, and remove its sessions' homes."""
        return await self.cage.clear()

    async def learn(self) -> None:
        """Learn what variables a shell has of its own, so that no session has to bring them back.

        Raises ShellError.
        """
        session = SessionShell()
        await (await self.start(":", session, lambda _: None)).wait()
        self._fresh = session.variables

    async def prepare(self, session: SessionShell | None = None) -> None:
        """Make ready for a session's next command, so that it starts faster. Best done while idle.

        Without `session` for the first of the next one that is opened. Only one is ever ready:
        mostly the next command is of the session that had the last one.
        """
        if session is None:
            with suppress(ShellError):
                session = self._spare = self._spare or self.open_session()
        if session is None:
            return
        if self._ready is not None and not self._is_ready(session):
            await self.dismiss()
        if self._ready is None:
            with suppress(ShellError):  # the next command tries again, and says so
                self._ready = Door(self.cage, session.home)

    @property
    def is_ready(self) -> bool:
        """Whether something was made ready, for whichever session."""
        return self._ready is not None

    def _is_ready(self, session: SessionShell) -> bool:
        door = self._ready
        return door is not None and door.home is session.home and door.is_waiting

    async def dismiss(self) -> None:
        """Undo `prepare`."""
        door, self._ready = self._ready, None
        if door is not None:
            await door.shut()

    async def shut(self) -> None:
        """Undo all that was made ready."""
        await self.dismiss()
        spare, self._spare = self._spare, None
        if spare is not None:
            await self.end_session(spare)

    def _take(self, session: SessionShell) -> Door | None:
        if not self._is_ready(session):
            return None
        door, self._ready = self._ready, None
        return door

    def new_session(self) -> SessionShell:
        """Return the state of a session that begins, in the home that all such sessions share."""
        return SessionShell(fresh=self._fresh)

    def open_session(self) -> SessionShell:
        """Return the state of a session that begins, in a home of its own; raises ShellError."""
        spare, self._spare = self._spare, None
        return spare or SessionShell(self.cage.make_home(), self._fresh)

    async def end_session(self, session: SessionShell) -> None:
        """Remove the home of a session of which no command runs and nothing is left."""
        if self._ready is not None and self._ready.home is session.home:
            await self.dismiss()
        if session.home is not None:
            await self.cage.remove_home(session.home)

    async def approach(self, text: str, session: SessionShell) -> Door | None:
        """Bring the shell that waits up to a command, before anything of that runs.

        So a shell is made while the command's record gets on the disk. What is returned is for
        `start`, or to be shut; it is None if no shell waits for this session, or `start` will fail.
        """
        door = self._take(session)
        if door is not None:
            try:
                door.approach(_encoded(text), session)
            except ShellError:
                await door.shut()
                return None
        return door

    async def start(
        self,
        text: str,
        session: SessionShell,
        on_output: OnOutput,
        on_rest: OnOutput | None = None,
        *,
        door: Door | None = None,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> Command:
        """Start a command in a session, at the `door` to which `approach` has brought it if any.

        `on_output` gets every byte that it prints, in order, before `Command.wait` returns. With
        `on_rest` what it leaves running goes on, if `may_leave` says so when it comes to that, and
        `on_rest` gets what that prints later; otherwise it is killed at the command's end. Raises
        ShellError if nothing was started.
        """
        encoded = _encoded(text)
        if door is not None and not door.is_waiting:
            await door.shut()
            door = None
        approached = door is not None
        door = door or self._take(session) or Door(self.cage, session.home)
        try:
            if not approached:
                door.approach(encoded, session)
            return Command(
                encoded,
                door=door,
                settings=self.cage.settings,
                session=session,
                on_output=on_output,
                on_rest=on_rest,
                may_leave=may_leave,
            )
        except BaseException:
            await door.shut()
            raise


def _encoded(text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise ShellError("the command is not valid Unicode") from error
    if b"\0" in encoded:
        raise ShellError("the command contains a NUL")
    return encoded
