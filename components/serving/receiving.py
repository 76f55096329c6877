"""The messages of a request for an application that asks for the next one in several tasks at once, or gives up asking."""

import asyncio

from starlette.types import Message, Receive


class Receiving:
    """Passes on a request's messages; the server sees one question at a time, which is cancelled only by `close`.

    Starlette asks beside an answer whether the client is gone, Gradio asks within it and at once cancels the question. If
    Granian's question is cancelled, the other one is answered as if the client were gone, which cuts the answer.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None

    async def __call__(self) -> Message:
        """Return the next message; all who wait for it get it, and after a disconnect everybody gets that."""
        if self._next is None:
            self._next = asyncio.create_task(self._one())
        question = self._next
        message = await asyncio.shield(question)
        if self._next is question and message["type"] != "http.disconnect":
            self._next = None
        return message

    async def _one(self) -> Message:
        return await self._receive()

    def close(self) -> None:
        """Cancel the question that nobody waits for any more."""
        if self._next is not None:
            self._next.cancel()
