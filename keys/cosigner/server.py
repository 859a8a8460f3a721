"""The co-signer's front: who may connect, over a Unix socket or TLS."""

from __future__ import annotations

import asyncio
from typing import Any

from keys.cosigner.service import Cosigner
from keys.signing.cosigning import messages
from keys.signing.cosigning.address import Address
from keys.signing.cosigning.messages import AnyRequest, RefusalCode
from keys.signing.wire import sockets
from keys.signing.wire.server import FrameServer


class CosignerServer(FrameServer[AnyRequest]):
    """Serves a co-signer on one address. ``users`` are the user ids that may use the Unix socket."""

    def __init__(self, cosigner: Cosigner, address: Address, users: frozenset[int]) -> None:
        super().__init__(what="the co-signer", decode=messages.decode_request, encode=messages.encode)
        self._cosigner, self._address, self._users = cosigner, address, users
        self.port = 0

    async def start(self) -> None:
        """Listen. A Unix socket is made anew, for its owner alone."""
        loop = asyncio.get_running_loop()
        if self._address.path is not None:
            listener = sockets.listener(self._address.path)
            self.serve_on(await loop.create_unix_server(self.new_connection, sock=listener))
            return
        assert self._address.tls is not None  # noqa: S101 -- from_settings refuses TCP without
        tls = self._address.tls.context(server=True)
        server = await loop.create_server(self.new_connection, self._address.host, self._address.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self.serve_on(server)

    async def stop(self) -> None:
        """Stop listening, finish what was begun, close."""
        await super().stop()
        if self._address.path is not None:
            sockets.remove(self._address.path)

    def name_of(self, transport: asyncio.Transport) -> str:
        """How the log calls the other end."""
        if self._address.path is None:
            subject = dict(pair[0] for pair in (transport.get_extra_info("peercert") or {}).get("subject", ()))
            return f"tls:{subject.get('commonName', 'unnamed')}"[:200] if subject else ""
        peer = sockets.peer_of(transport)
        return f"unix:{peer.user}:{peer.process}" if peer.user in self._users else ""

    async def answer(self, request: AnyRequest, name: str) -> Any:
        """What the co-signer says."""
        return await self._cosigner.answer(request, name)

    def busy(self, number: int) -> Any:
        """One request too many."""
        return messages.CosignerRefusedReply(number, RefusalCode.BUSY.value)
