"""Which credentials are there. None is ever shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from avsa.doctor.check import OK, PROBLEM, WARNING, Finding

AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PAIRS = (AWS, ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"))
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
FORWARDED = AWS
"""What ``mlflow run`` gives a container whose artifacts lie on S3 directly, on a line that it logs."""
LOST = (
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)


def credentials(store: str) -> Iterator[Finding]:
    """Names that go together, and files that names point to; ``store`` is the clip store's address."""
    halves = [pair for pair in PAIRS if bool(os.environ.get(pair[0])) != bool(os.environ.get(pair[1]))]
    for first, second in halves:
        alone, lost = (first, second) if os.environ.get(first) else (second, first)
        yield Finding(PROBLEM, f"{alone} is set without {lost}", f"set both, or neither: unset {alone}")
    for name in BUNDLES:
        path = os.environ.get(name)
        if path and not Path(path).exists():
            yield Finding(PROBLEM, f"{name}: {path} is not there", f"correct it, or unset {name}")
    if AWS not in halves:
        yield _aws(store.startswith("s3:"))


def _aws(needed: bool) -> Finding:
    """AWS's own library finds them, as DVC, MLflow and the loader do."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        found = boto3.Session().get_credentials()
    except BotoCoreError as error:
        return Finding(PROBLEM, str(error), "correct AWS_PROFILE, or ~/.aws/config")
    if found:
        return Finding(OK, f"AWS: from {found.method}")
    if needed:
        return Finding(
            PROBLEM,
            "AWS: none, but store.address is on S3",
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    return Finding(OK, "AWS: none; only what lies on S3 needs them")


def in_a_container(location: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What becomes of this shell's credentials in a container of ``mlflow run`` whose artifacts go to ``location``."""
    direct = location.startswith("s3:")
    logged = [name for name in FORWARDED if direct and environment.get(name)]
    if logged:
        text = f"mlflow run writes {' and '.join(logged)} into its log: artifacts go to S3 directly"
        yield Finding(WARNING, text, "let the server pass artifacts on: mlflow server --artifacts-destination s3://...")
    lost = [name for name in LOST if environment.get(name) and (direct or not name.startswith("AWS"))]
    if lost:
        yield Finding(
            WARNING, f"mlflow run does not pass on {', '.join(lost)}", "-A env-file=FILE with lines NAME=VALUE"
        )
