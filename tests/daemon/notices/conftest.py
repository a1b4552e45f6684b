"""What the tests of mail share."""

from collections.abc import AsyncIterator

import pytest

from config.settings import DatabaseSettings
from daemon.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(DatabaseSettings(url=database_url)) as opened:
        opened.schema_ready = True
        yield opened
