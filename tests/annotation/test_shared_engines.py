"""Whoever has the same store open shares an engine, and the last to close it gives back connections."""

from __future__ import annotations

import os
import warnings

import pytest
from sqlalchemy import text

from annotation.store import Store, open_store

pytestmark = pytest.mark.both_databases


def works(store: Store) -> bool:
    with store.reading() as session:
        return session.scalar(text("SELECT 1")) == 1


def test_a_store_is_used_on_while_another_closes_it(store_url: str) -> None:
    one, other = open_store(store_url), open_store(store_url)
    assert one.engine is other.engine
    with one.engine.connect() as connection:
        other.close()
        other.close()  # once more gives nothing back that is not its own
        assert connection.scalar(text("SELECT 1")) == 1
    assert works(one)
    one.close()
    again = open_store(store_url)
    assert works(again)
    again.close()


def test_a_forked_process_has_connections_of_its_own(store_url: str) -> None:
    store = open_store(store_url)
    assert works(store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have left threads
        child = os.fork()
    if not child:
        os._exit(open_store(store_url).engine is store.engine)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert works(store)
    store.close()
