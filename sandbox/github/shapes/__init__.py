"""What things look like in answers and payloads: the fields of GitHub's own schemas."""
