"""Provider errors logged by the application, shortened for people."""

import time

from ops.cloudflare.types.records import MAX_ERROR_LENGTH, LoggedError, describe_logged_errors


def test_long_error_text_is_truncated_before_anonymization() -> None:
    huge = LoggedError(text="1.2.3.4@" * 2_000_000, count=7)

    began = time.process_time()
    (line,) = describe_logged_errors((huge,))

    assert time.process_time() - began < 0.2
    assert line.startswith("in 7 requests: ")
    assert len(line) < MAX_ERROR_LENGTH + 20
