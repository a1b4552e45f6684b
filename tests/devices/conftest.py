"""What tests of the network share: several connections at once."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from daemon.database import set_codecs


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """Connections to this test's database, for what happens side by side."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=8, init=set_codecs) as opened:
        yield opened
