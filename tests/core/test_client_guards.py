"""Write guards open and close all clients together."""

from ops.core.client_guards import WriteGuard, WriteGuards


class Client(WriteGuard):
    @property
    def is_open(self) -> bool:
        return self._may_write


def test_client_created_during_a_write_closes_with_it() -> None:
    write_guards = WriteGuards()
    early = write_guards.add(Client())
    assert not early.is_open

    with write_guards.writing():
        late = write_guards.add(Client())
        assert early.is_open
        assert late.is_open

    assert not early.is_open
    assert not late.is_open
    assert not write_guards.add(Client()).is_open
