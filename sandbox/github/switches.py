"""What is not known for sure about GitHub, or differs between repositories, as switches.

Each default is the inconvenient answer, or its text says why not.
"""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Switches:
    """May be changed while the sandbox runs, from Python or through `POST /sandbox/switches`."""

    private: bool = True
    """Whether the repository is private: strangers then have no permission at all, else everybody reads."""

    github_token_reads_permissions: bool = True
    """Whether GITHUB_TOKEN may ask for a collaborator's permission. The endpoint belongs to Metadata (read), which
    every installation token has, hence True; False answers 403."""

    over_long_issue_body_is_refused: bool = False
    """Whether an update of an issue's body beyond the limit answers 422. False: 200, and the old body stays."""

    actions_may_create_pull_requests: bool = False
    """The setting "Allow GitHub Actions to create and approve pull requests", which is off in a new repository."""

    dispatch_answers_run_details: bool = True
    """Whether a dispatch takes `return_run_details` and answers 200 with the run. github.com documents it, hence True;
    False answers 422 to the field, as an older GitHub Enterprise Server does."""

    enterprise_server: bool = False
    """Whether it is a GitHub Enterprise Server, whose API is below /api/v3. Most are github.com, hence False."""

    host_in_answers: str = ""
    """The host that addresses in answers name, as an Enterprise Server behind a proxy does. "": the host that was
    asked, as github.com does."""
