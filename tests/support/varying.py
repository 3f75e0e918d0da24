"""Leave out of a text what differs between two runs: times, durations, IDs, and names of this machine."""

import re


def without_what_differs(text: str) -> str:
    """Return the Markdown of a run without times, durations, and folders and names of this machine."""
    text = re.sub(r"(\d{8}T\d{6}|\b\d{4,}\.\d)-[0-9a-f]{4}", "RUN", text)
    text = re.sub(r"http://127\.0\.0\.1:\d+", "https://github.example", text)
    text = re.sub(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d, UTC", "DATE, UTC", text)
    text = re.sub(r"\b\d+\.\d\b", "S", text)
    text = re.sub(r"(?<=after )\d+ (s|min)\b", "S s", text)
    text = re.sub(r"at \d\d:\d\d UTC", "at TIME UTC", text)
    text = re.sub(r"before: [^|\n]*|[Tt]he probes (failed before and )?are healthy[^.|\n]*", "…", text)
    text = re.sub(r"\\\n(?=\S)", "", text)  # a long path is broken within a word
    text = re.sub(r" \\\n +(--incident 1 --to \w+ \\\n +)?--config [^`]*?ops\.yml", r" \\\n  \1--config ops.yml", text)
    text = re.sub(r"--config /[^`\s]*?ops\.yml(?=`)", "--config ops.yml", text)
    return re.sub(r"by (local user )?[\w-]+(?=\)$| at TIME UTC)", "by USER", text, flags=re.MULTILINE)


def shape(line: str) -> str:
    """Return a line of a terminal without what differs, and with single spaces."""
    line = re.sub(r"\b[\d.]+ s(?=  | \(target|$)", "S s", line)
    line = re.sub(r"\d{4}-\d\d-\d\d", "DATE", without_what_differs(line))
    line = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{8}\b", "ID", line)
    return " ".join(line.split())
