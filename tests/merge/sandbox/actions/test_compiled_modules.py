"""Compiled modules are used again by later jobs, for the same source only."""

import marshal
from pathlib import Path

from sandbox import Sandbox
from sandbox.actions import Runner

WORKFLOW = """
on: workflow_dispatch
jobs:
  only:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - run: PYTHONPATH=. exec python3 -P -B -c 'import said; print("said", said.WORD, said.place())'
      - run: ls -A
"""
MODULE = 'WORD = "{}"\n\n\ndef place():\n    return place.__code__.co_filename\n'


def test_compiled_module_is_used_for_the_same_source_only(sandbox: Sandbox, tmp_path: Path) -> None:
    hub = sandbox.github
    hub.add_user("alice")
    hub.add_commit("a", "alice", files={".github/workflows/a.yml": WORKFLOW.encode()})
    kept = tmp_path / "ops-compiled" / "said"

    def answer(word: str) -> list[str]:
        hub.add_commit("b", "alice", files={"said.py": MODULE.format(word).encode()})
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()
        assert run.conclusion == "success", runner.log(run.id)
        assert not any("__pycache__" in line for line in runner.log(run.id))
        return next(line.split()[1:] for line in runner.log(run.id) if line.startswith("said "))

    def replace_code(content: bytes) -> None:
        kept.write_bytes(kept.read_bytes()[:8] + content)

    with Runner(hub, {}, pip_cache=tmp_path) as runner:
        first = answer("one")
        replace_code(marshal.dumps(compile(MODULE.format("kept"), "elsewhere", "exec")))
        again = answer("one")
        edited = answer("two")
        replace_code(b"no code")
        broken = answer("two")

    assert [first[0], again[0], edited[0], broken[0]] == ["one", "kept", "two", "two"]
    places = [first[1], again[1], edited[1], broken[1]]
    assert len(set(places)) == 4  # a traceback shows the file of its own job
    assert all(place.endswith("/hostexecutor/said.py") for place in places)


WITHOUT = """
on: workflow_dispatch
jobs:
  only:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - run: |
          python3 -P -c 'import trio; print("trio of the machine")' || echo "no trio"
          PYTHONPATH=. exec python3 -P -c 'import trio; print("trio", trio.OF)'
"""


def test_job_imports_its_own_trio_and_none_of_the_machine(sandbox: Sandbox, tmp_path: Path) -> None:
    hub = sandbox.github
    hub.add_user("alice")
    files = {".github/workflows/a.yml": WITHOUT.encode(), "trio.py": b'OF = "the job"\n'}
    hub.add_commit("a", "alice", files=files)

    with Runner(hub, {}, pip_cache=tmp_path) as runner:
        run = hub.dispatch("a.yml", by="alice")
        runner.wait()

    log = runner.log(run.id)
    assert run.conclusion == "success", log
    assert [line for line in log if line.startswith(("no trio", "trio "))] == ["no trio", "trio the job"]
