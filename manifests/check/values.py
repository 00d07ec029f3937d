"""values.env: which settings there are, and what each may be."""

import re
from pathlib import Path

from kubernetes.utils import parse_quantity

from serving.errors import SluiceError

_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_URL = rf"https?://{_HOST}(:\d+)?(/[\w./-]*)?"
_IMAGE = r"[a-z0-9][\w.:/-]*(:[\w][\w.-]*|@sha256:[0-9a-f]{64})"
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_CRON = r"@(hourly|daily|weekly|monthly)"
_QUANTITY = "a quantity, as 500m, 2 or 4Gi"
_COUNT = "a whole number"

# What each setting must match, and how to say it.
SETTINGS: dict[str, tuple[str, str]] = {
    "SLUICE_NAMESPACE": (_NAME, "a namespace: lower-case letters, digits and hyphens"),
    "SLUICE_DEPLOYMENT_MODE": ("Knative|Standard", "Knative or Standard"),
    "SLUICE_DOMAIN": (_HOST, "a domain"),
    "KFP_HOST": (_URL, "an http or https URL"),
    "KFP_NAMESPACE": (_NAME, "a namespace"),
    "SLUICE_IMAGE": (_IMAGE, "an image with a tag or a digest"),
    "SLUICE_SERVING_IMAGE": (_IMAGE, "an image with a tag or a digest"),
    "SLUICE_MODEL_REGISTRY": (r"[a-z0-9][\w.:/-]*[\w]", "a registry and a path, without oci://"),
    "MLFLOW_TRACKING_URI": (_URL, "an http or https URL"),
    "SLUICE_FEATURE_SERVER": (_URL, "an http or https URL"),
    "FEAST_FS_YAML_FILE_PATH": (r"/[\w./-]+\.yaml", "an absolute path in the image"),
    "FEAST_SCHEDULE": (_CRON, "@hourly, @daily, @weekly or @monthly"),
    "PROMETHEUS": (_URL, "an http or https URL"),
    "AWS_ENDPOINT_URL": (_URL, "an http or https URL"),
    "AWS_DEFAULT_REGION": (r"[a-z0-9-]+", "a region"),
    "SLUICE_BUCKET": (_BUCKET, "a bucket's name"),
    "SLUICE_ARTIFACTS": (rf"s3://{_BUCKET}(/[\w./-]*)?", "an s3:// URL"),
    "SLUICE_CHECKPOINTS": (rf"/[\w./-]+|s3://{_BUCKET}(/[\w./-]*)?", "an absolute path or an s3:// URL"),
    "STORAGE_CLASS": (r"[a-z0-9][a-z0-9.-]*", "a storage class"),
    **{f"{engine}_SIZE": ("", _QUANTITY) for engine in ("POSTGRES", "REDIS", "MINIO", "BUNDLES", "CHECKPOINTS")},
    "SERVING_MIN_REPLICAS": (r"[1-9]\d*", f"{_COUNT} of at least 1"),
    "SERVING_MAX_REPLICAS": (r"[1-9]\d*", f"{_COUNT} of at least 1"),
    **{
        f"{who}_{what}": ("", _QUANTITY)
        for who in ("SERVING", "TRANSCRIBER")
        for what in ("CPU", "CPU_LIMIT", "MEMORY", "MEMORY_LIMIT")
    },
}
# Set by components/values for everybody.
CONSTANTS = (
    "MLFLOW_DISABLE_TELEMETRY",
    "GX_ANALYTICS_ENABLED",
    "DO_NOT_TRACK",
    "HF_HUB_DISABLE_TELEMETRY",
    "FEAST_USAGE",
)
_NOT_ABOVE = [
    ("SERVING_MIN_REPLICAS", "SERVING_MAX_REPLICAS"),
    *((f"{who}_{what}", f"{who}_{what}_LIMIT") for who in ("SERVING", "TRANSCRIBER") for what in ("CPU", "MEMORY")),
]


def read_values(path: Path) -> dict[str, str]:
    """The settings of a values.env, checked; SluiceError that names the file, the line and the mend."""
    if not path.is_file():
        raise SluiceError(f"{path}: not there; copy that of another overlay and fill it in")
    values: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        where = f"{path}, line {number}"
        if not equals:
            raise SluiceError(f"{where}: {line!r} is neither NAME=value nor a comment")
        if key not in SETTINGS:
            raise SluiceError(f"{where}: unknown setting {key!r}; the other overlays' values.env has them all")
        if key in values:
            raise SluiceError(f"{where}: {key} is set twice")
        values[key] = value
        _check(where, key, value)
    if missing := [key for key in SETTINGS if key not in values]:
        raise SluiceError(f"{path}: {', '.join(missing)} not set; every setting needs a value")
    _together(path, values)
    return values


def _check(where: str, key: str, value: str) -> None:
    pattern, meaning = SETTINGS[key]
    if not value:
        raise SluiceError(f"{where}: {key} has no value; expected {meaning}")
    if meaning == _QUANTITY:
        _quantity(where, key, value)
    elif not re.fullmatch(pattern, value):
        raise SluiceError(f"{where}: {key}={value} is not {meaning}")
    if meaning.startswith("an image") and value.endswith(":latest"):
        raise SluiceError(f"{where}: {key}={value}: `latest` names another image tomorrow; name a version or a digest")


def _quantity(where: str, key: str, value: str) -> None:
    try:
        amount = parse_quantity(value)
    except ValueError:
        amount = 0
    if amount <= 0:
        raise SluiceError(f"{where}: {key}={value} is not {_QUANTITY}")


def _together(path: Path, values: dict[str, str]) -> None:
    for low, high in _NOT_ABOVE:
        if parse_quantity(values[low]) > parse_quantity(values[high]):
            raise SluiceError(f"{path}: {low}={values[low]} is above {high}={values[high]}")
    if values["KFP_NAMESPACE"] != values["SLUICE_NAMESPACE"]:
        raise SluiceError(
            f"{path}: KFP_NAMESPACE={values['KFP_NAMESPACE']} is not SLUICE_NAMESPACE={values['SLUICE_NAMESPACE']}: "
            "the steps need the account, the settings and the secrets that are in the latter"
        )
    if not (values["SLUICE_ARTIFACTS"] + "/").startswith(f"s3://{values['SLUICE_BUCKET']}/"):
        raise SluiceError(
            f"{path}: SLUICE_ARTIFACTS={values['SLUICE_ARTIFACTS']} is not in SLUICE_BUCKET={values['SLUICE_BUCKET']}"
        )
