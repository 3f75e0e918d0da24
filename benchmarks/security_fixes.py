"""Take each fix of a security hole out, one at a time: the tests of its class fail, and those of the others pass.

    ./run benchmarks.security_fixes [--only NAME]

A fix is one change of text in a copy of HEAD. Each of its own tests must notice that it is gone, and no test of another
class may: then a failure names the hole that opened. Exits with 1 otherwise, and if a change no longer fits: then write
it for the code of today.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.mutants import Patch
from benchmarks.mutation import copy_of, git, run_tests

LONGEST = {"own": 300.0, "other": 1200.0}
"""Seconds after which tests have noticed that a fix is gone, because they hang."""


@dataclass(frozen=True)
class Fix(Patch):
    """A fix of one class of holes. `before` closes it; with `after` it is open again."""

    tests: tuple[str, ...]
    """Tests of the class: each of them fails without the fix."""
    shared: tuple[str, ...] = ()
    """Tests of other classes that go through the same lines, and may fail too."""


REDEPLOY = "tests/merge/runbooks/test_redeploy_configuration.py"
MARKS = "tests/runbooks/test_rollback_worker_marks.py"
FORGED = "tests/gate/test_second_person_forged.py"
CONFIG = "tests/config/test_config.py"
WORKFLOWS = "tests/setup/test_workflows.py"
FIXES = (
    Fix(
        "site-configuration",  # a build writes the bindings that the token deploys
        "ops/site_build/files.py",
        "    if names := [name for name in CONFIGURATION_PATHS if before.get(name) != now.get(name)]:\n",
        "    if names := [name for name in CONFIGURATION_PATHS if before.get(name) is now]:\n",
        (f"{REDEPLOY}::test_build_that_writes_a_configuration_is_refused",),
    ),
    Fix(
        "source-maps",  # wrangler reads files of the runner that holds the token
        "ops/cloudflare/types/site_config.py",
        "    kept = {key: value for key, value in settings.items() if key in _TAKEN}\n",
        "    kept = {key: value for key, value in settings.items() if key in {*_TAKEN, *_DROPPED}}\n",
        (f"{REDEPLOY}::test_committed_bindings_are_deployed_without_source_maps",),
    ),
    Fix(
        "another-attempt",  # a re-run of the acting job alone passes no gate
        "ops/gate/attempts.py",
        "    if gate_pass.attempt is not None and gate_pass.attempt != attempt:\n",
        "    if gate_pass.attempt is not None and gate_pass.attempt > attempt:\n",
        ("tests/cli/test_recover.py::test_job_without_pass_is_refused_before_any_request",),
    ),
    Fix(
        "waiting-reviewer",  # a job that waits for a reviewer blocks every recovery for days
        "templates/workflows/_jobs.yml.j2",
        "    permissions: {}\n[[- group(name ~ '-${{ github.run_id }}') ]]\n",
        "    permissions: {}\n[[- group('recover-' ~ behind[0].environment) ]]\n",
        (f"{WORKFLOWS}::test_jobs_that_wait_for_a_reviewer_hold_no_recovery_group",),
    ),
    Fix(
        "long-texts",  # one request with a long path stops the evidence
        "ops/core/anonymization.py",
        r"""|(?<![^\s"'<>()\[\]{},;:/?&=|\\@`])[^\s""",
        r"""|[^\s""",
        ("tests/core/test_anonymization.py::test_long_text_is_anonymized_quickly",),
    ),
    Fix(
        "mark-against-history",  # the message of a bad release says that it is a rollback
        "ops/workers/history.py",
        "        return deployment.mark if self._is_confirmed(index) and is_ours else None\n",
        "        return deployment.mark if self.believes_marks or is_ours else None\n",
        ("tests/runbooks/test_rollback_worker_target.py::test_forged_mark_does_not_stop_the_rollback",),
    ),
    Fix(
        "evidence-environment",  # the widest token is in the environment of the recoveries
        "templates/workflows/evidence.yml.j2",
        "[[- jobs.environment('evidence') ]]",
        "[[- jobs.environment('recovery') ]]",
        (f"{WORKFLOWS}::test_evidence_job_alone_uses_evidence_environment",),
    ),
    Fix(
        "public-source",  # a job publishes the source of a private site
        "ops/github/protection.py",
        '    if is_own_private(environ, redactor):\n        return ""\n    return f"GitHub does not say that',
        '    if own:\n        return ""\n    return f"GitHub does not say that',
        (f"{REDEPLOY}::test_source_is_not_published_by_a_public_repository",),
    ),
    Fix(
        "outsider-in-report",  # a stranger's pull request acknowledges the incident
        "ops/github/journal.py",
        '        return source.get("author_association") not in TEAM or not writers.includes(actor["login"])\n',
        '        return source.get("author_association") not in TEAM\n',
        ("tests/report/test_report.py::test_mention_by_outsider_is_ignored",),
    ),
    Fix(
        "environment-in-proc",  # a command probe reads the tokens of its parent
        "ops/cli/__init__.py",
        "    hide_environment()\n",
        "",
        ("tests/merge/tools/test_own_environment.py::test_command_probe_finds_no_token_in_any_process",),
    ),
    Fix(
        "secret-spellings",  # a log shows a secret in another base
        "ops/core/redaction.py",
        "    yield data.hex()\n",
        "",
        ("tests/core/test_redaction.py::test_registered_value_is_redacted_in_every_form",),
    ),
    Fix(
        "label-spellings",  # two labels that GitHub cannot tell apart
        "ops/config/checks.py",
        "        elif folded in first:\n",
        "        elif name in first:\n",
        (f"{CONFIG}::test_labels_equal_except_for_case_are_an_error",),
    ),
    Fix(
        "reserved-names",  # a token of ops.yml has the name of GitHub's own
        "ops/config/checks.py",
        'RESERVED_BEGINNINGS = ("GITHUB_", ',
        "RESERVED_BEGINNINGS = (",
        (f"{CONFIG}::test_token_with_reserved_name_is_an_error",),
    ),
    Fix(
        "private-files",  # every user of the machine reads the records of runs
        "ops/tools/process.py",
        "os.O_CREAT | start, 0o600)",
        "os.O_CREAT | start, 0o644)",
        ("tests/publish/test_job.py::test_run_record_is_private_to_its_user",),
        shared=("tests/runbooks/test_restore_database_kept.py",),
    ),
    Fix(
        "digest-of-approval",  # an approval of one request starts another one
        "ops/core/approval.py",
        "    request = next((each for each in here if each.full_digest == digest), None)\n",
        "    request = next((each for each in here if is_digest(digest)), None)\n",
        (
            "tests/core/test_approval.py::test_found_request_is_the_one_whose_digest_was_entered",
            "tests/merge/gate/test_several_requests.py",
        ),
    ),
    Fix(
        "signed-request",  # a writer edits the request that another person approves
        "ops/app/second_person.py",
        "        return asked == here and request.is_signed(self.session.token.reveal(), self._repository_name)\n",
        "        return asked == here\n",
        (f"{FORGED}::test_request_with_any_signature_is_refused",),
    ),
    Fix(
        "commit-attributes",  # a commit message becomes SQL
        "ops/tools/git.py",
        '        return dict(self._read_plain(sha, known, "-r")) if known else {}\n',
        """        import io
        import subprocess
        import tarfile

        done = subprocess.run(["git", "archive", sha, *known], cwd=self._folder, check=True, capture_output=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            return {each.name: tar.extractfile(each).read() for each in tar.getmembers() if each.isfile()}
""",
        ("tests/tools/test_source_files.py::test_attributes_of_the_commit_change_no_content",),
    ),
    Fix(
        "unconfirmed-mark",  # a gradual rollout makes a forged mark look like history
        "ops/runbooks/rollback_worker.py",
        "    if to is not None or not history.unconfirmed_marks:\n",
        "    if to is not None or history.unconfirmed_marks is not None:\n",
        (f"{MARKS}::test_unconfirmed_mark_stops_with_both_commands",),
        shared=("tests/github/test_records.py",),
    ),
    Fix(
        "record-of-another-workflow",  # every workflow comments as the same bot
        "ops/github/records.py",
        "        if path not in self.rules.workflows:\n",
        "        if not path:\n",
        ("tests/github/test_records.py::test_record_of_another_run_does_not_act",),
        shared=(MARKS, FORGED),
    ),
    Fix(
        "edited-record",  # everyone with write access edits a comment of the bot
        "ops/github/records.py",
        "        if others := sorted({*editors} - {author, BOT}):\n",
        "        if others := sorted({*editors} - {author, BOT, *editors}):\n",
        ("tests/github/test_records.py::test_forged_record_does_not_act",),
        shared=(MARKS, FORGED),
    ),
    Fix(
        "forged-use",  # a writer uses up an approval, and blocks the recovery
        "ops/github/approvals.py",
        "        [use for each in uses if each.trust == Trust.OURS and (use := parse_use(each.record.approval))],\n",
        "        [use for each in uses if (use := parse_use(each.record.approval))],\n",
        (f"{FORGED}::test_forged_use_of_an_approval_blocks_nothing",),
    ),
    Fix(
        "size-of-answer",  # a small packed answer fills the memory
        "ops/core/bounded_http.py",
        "        size += len(piece)\n        if size > most:\n            return\n",
        "        size += len(piece)\n",
        ("tests/core/test_bounded_http.py::test_small_body_that_unpacks_to_600_megabytes_ends_early",),
    ),
    Fix(
        "time-of-answer",  # a server that drips holds the run
        "ops/core/bounded_http.py",
        "    rest = _CALL.latest - time.monotonic()\n",
        "    rest = _CALL.latest - time.monotonic() + 3.0\n",
        ("tests/core/test_bounded_http.py::test_call_of_a_slow_server_ends_in_time",),
    ),
    Fix(
        "own-review",  # the person who requested a run approves it
        "ops/core/approval.py",
        "    if review.login.lower() in requesters:\n",
        "    if review.login.lower() in ():\n",
        (
            "tests/gate/test_approval.py::test_requester_is_no_reviewer",
            "tests/gate/test_approval.py::test_first_requester_is_no_reviewer_of_a_later_attempt",
        ),
    ),
    Fix(
        "control-characters",  # an input of a button moves the cursor of the reader
        "ops/render/__init__.py",
        '    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)\n',
        "    return text\n",
        ("tests/test_terminal_stays_safe.py::test_gate_shows_no_control_characters",),
    ),
    Fix(
        "missing-actions",  # workflows use actions that are not there
        "ops/setup/workflows.py",
        '    paths = [] if config.github.actions else [f"{OUR_FOLDER}/{name}" for name in OUR_ACTIONS]\n',
        "    paths = list[str]()\n",
        ("tests/setup/test_workflow_sync.py::test_folder_without_the_actions_gets_no_workflows",),
    ),
    Fix(
        "host-of-token",  # the token of an Enterprise Server goes to api.github.com
        "ops/github/client.py",
        '    if own and given.lower() in {"", own, own.removesuffix(SERVER_PATH)}:\n',
        "    if own:\n",
        ("tests/github/test_servers.py::test_token_is_only_for_the_api_of_its_server",),
    ),
    Fix(
        "grown-loss",  # rows that were added after the approval are lost
        "ops/runbooks/revert_migration.py",
        "        if observed.state == ChangeState.PLANNED and not self.revert.sent:\n",
        "        if observed.state == ChangeState.PLANNED and self.revert.sent:\n",
        ("tests/runbooks/test_grown_losses.py::test_revert_loses_at_most_the_accepted_rows",),
    ),
    Fix(
        "unaccepted-loss",  # a migration loses rows that nobody accepted by name
        "ops/database/losses.py",
        "        if each.unaccepted:\n",
        "        if each.unaccepted and each.wrong:\n",
        ("tests/runbooks/test_revert_migration_losses.py::test_down_file_that_loses_rows_is_refused_until_it_accepts",),
    ),
    Fix(
        "responders-of-consumers",  # a rotation changes a service whose list leaves the person out
        "ops/runbooks/rotate_secrets.py",
        "        return (service, *selection.list_consumers(environment, service, only))\n",
        "        return (service,)\n",
        ("tests/gate/test_responder_lists.py::test_rotation_needs_the_lists_of_all_services_that_it_writes_to",),
    ),
)


@click.command(help=__doc__)
@click.option("--only", type=click.Choice([each.name for each in FIXES]))
def main(only: str | None) -> None:
    """Print for each fix the tests that do not notice it, and those of other classes that do."""
    chosen = [each for each in FIXES if only in {None, each.name}]
    commit, missed = git("rev-parse", "HEAD").strip(), 0
    with copy_of(commit) as copy:
        every = sorted({test for each in FIXES for test in each.tests})
        if (failed := _first_failure(copy, every if only is None else chosen[0].tests, "other")) is not None:
            raise click.ClickException(f"{failed} fails with every fix. Correct it, then start again.")
        for fix in chosen:
            began = time.monotonic()
            unnoticed, others = _try(copy, fix)
            missed += bool(unnoticed or others)
            word = "survived" if unnoticed else "too wide" if others else "found"
            print(
                f"{word:9} {time.monotonic() - began:5.0f} s  {fix.name}  {' '.join([*unnoticed, *others])}", flush=True
            )
    print(f"{len(chosen)} fixes of {commit[:12]}, {missed} missed")
    sys.exit(1 if missed else 0)


def _try(copy: Path, fix: Fix) -> tuple[list[str], list[str]]:
    """Return the own tests that pass without the fix, and the first test of another class that fails without it."""
    path = copy / fix.file
    before = path.read_text(encoding="utf-8")
    fix.apply(copy)
    try:
        unnoticed = [test for test in fix.tests if _first_failure(copy, [test], "own") is None]
        failed = _first_failure(copy, others_of(fix), "other")
    finally:
        path.write_text(before, encoding="utf-8")
    return unnoticed, [failed] if failed else []


def others_of(fix: Fix) -> list[str]:
    """Return the tests of the other classes, without those that go through the same lines."""
    own = {*fix.tests, *fix.shared}
    every = {test for each in FIXES for test in each.tests}
    return sorted(test for test in every if test not in own and test.partition("::")[0] not in own)


def _first_failure(copy: Path, tests: "list[str] | tuple[str, ...]", which: str) -> str | None:
    options = ["-n2"] if len(tests) > 1 else ["-n0"]
    return run_tests(copy, [*options, "-p", "no:randomly", *tests], LONGEST[which])


if __name__ == "__main__":
    main()
