"""Values of `--to`: version IDs, splits and refusals."""

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.workers import Split, WorkerVersion, format_split
from ops.core.errors import ConfigError, Refused
from ops.workers.rollback_target import parse_version_target
from tests.support.properties import holds_for

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C1, C2 = "cccccccc-0000-4000-8000-000000000003", "cccccccc-1111-4000-8000-000000000004"
KNOWN = [WorkerVersion(id=name) for name in (A, B, C1, C2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "split"),
    [
        (A, ((A, 100),)),
        (A.upper(), ((A, 100),)),
        (f"  {A} ", ((A, 100),)),
        (A[:8], ((A, 100),)),
        (A[:20], ((A, 100),)),
        (C1[:13], ((C1, 100),)),
        (f"{A}@100", ((A, 100),)),
        (f"{A}@90,{B}@10", ((A, 90), (B, 10))),
        (f"{A}@10,{B}@90", ((B, 90), (A, 10))),
        (f"{A}@90%, {B}@10%", ((A, 90), (B, 10))),
        (f"{A[:8]}@90,{B[:8]}@10", ((A, 90), (B, 10))),
        (f"{A}@100,{B}@0", ((A, 100), (B, 0))),
        (f"{A}@66.667,{B}@33.333", ((A, 66.667), (B, 33.333))),
        (f"{A}@66.6667,{B}@33.333", ((A, 66.6667), (B, 33.333))),
    ],
)
def test_parse_version_or_split(text: str, split: Split) -> None:
    assert parse_version_target(text, KNOWN) == split


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{A}@90", "the shares add up to 90, not 100"),
        (f"{A}@90,{B}@20", "the shares add up to 110, not 100"),
        (f"{A}@90,{B}@9.99", "the shares add up to 99.99, not 100"),
        (f"{A}@50,{A}@50", "both shares name the same version"),
        (f"{A}@50,{A[:8]}@50", "both shares name the same version"),
        (f"{A}@50,{B}@30,{C1}@20", "a deployment has at most two versions"),
        (",,", "a deployment has at most two versions"),
        (f"{A},{B}", '"" is not a percentage'),
        (f"{A}@,{B}@", '"" is not a percentage'),
        (f"{A}@150,{B}@-50", '"-50" is not a percentage'),
        (f"{A}@+90,{B}@10", '"+90" is not a percentage'),
        (f"{A}@1e2", '"1e2" is not a percentage'),
        (f"{A}@nan", '"nan" is not a percentage'),
        (f"{A}@٩٠,{B}@10", '"٩٠" is not a percentage'),
        (f"{A}@90@10", '"90@10" is not a percentage'),
        (f"{A}@90%%,{B}@10", '"90%%" is not a percentage'),
    ],
)
def test_malformed_target_is_a_usage_error(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_version_target(text, KNOWN)

    assert raised.value.message.endswith(f": {why}")
    assert "A@90,B@10" in raised.value.hint


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (A.replace("1", "2"), f'; did you mean "{A}"?'),
        (B[:12].replace("0", "7"), '"bbbbbbbb-777"'),
        (f"{A}@90,{B[:-1]}7@10", f'; did you mean "{B}"?'),
        (A[:7], f'; did you mean "{A}"?'),
        ("4.2.0", "; known: aaaaaaaa"),
        ("", 'no deployable version ""'),
        ("@100", 'no deployable version ""'),
        ("latest", "known:"),
    ],
)
def test_unknown_version_suggests_the_nearest(text: str, says: str) -> None:
    with pytest.raises(Refused) as raised:
        parse_version_target(text, KNOWN)

    assert says in raised.value.message


def test_ambiguous_prefix_names_both_versions() -> None:
    with pytest.raises(Refused, match="matches 2 versions") as raised:
        parse_version_target("cccccccc", KNOWN)

    assert raised.value.hint == f"Pass one of: {C1}, {C2}."


def test_no_deployable_version_is_reported() -> None:
    with pytest.raises(Refused, match="none is defined"):
        parse_version_target(A, [])


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[31mHEALTHY",
        f"{A}@90\n::set-output name=to::{B},{B}@10",
        f"{A}@\x07,{B}@10",
        "x" * 100_000,
        ",".join([A] * 50),
        f"{A}@{'9' * 1000}",
        "$(reboot)",
        "../../etc/passwd",
        "https://ops:secret@example.com/",
        "sk1234567890abcdefghijklmnop",
    ],
)
def test_hostile_text_is_shown_on_one_line_without_secrets(text: str) -> None:
    with pytest.raises((ConfigError, Refused)) as raised:
        parse_version_target(text, KNOWN)

    said = raised.value.message + raised.value.hint
    assert said.isprintable()
    assert len(said) < 500
    assert "secret" not in said
    assert "sk1234" not in said


@pytest.mark.slow
@holds_for(30, 1000, text=st.text() | st.text("@,%. 0123456789abc-", max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        split = parse_version_target(text, KNOWN)
    except (ConfigError, Refused) as error:
        assert error.hint  # noqa: PT017  (a table of outcomes, not an expected error)
    else:
        assert abs(sum(percent for _, percent in split) - 100) <= 0.001


@holds_for(30, 1000, names=st.permutations([A, B, C1, C2]), hundredths=st.integers(0, 10_000))
def test_split_round_trips(names: list[str], hundredths: int) -> None:
    shares = ((names[0], 100 - hundredths / 100), (names[1], hundredths / 100))
    split: Split = tuple(sorted(shares, key=lambda share: -share[1]))

    assert [name for name, _ in parse_version_target(format_split(split), KNOWN)] == [name for name, _ in split]
    assert parse_version_target(format_split(split[:1]), KNOWN) == ((split[0][0], 100),)
