"""values.env: which settings there are, and what each may be."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes.utils import parse_quantity

from pipelines.systems import systems
from serving.contract.errors import SluiceError

_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"({_NAME}\.)*{_NAME}"
_PORT = r"(:[1-9]\d{1,4})?"
_PATH = r"(/[\w-]+(\.[\w-]+)*)*"
_URL = rf"https?://{_HOST}{_PORT}{_PATH}/?"
_REPOSITORY = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_REGISTRY = rf"{_HOST}{_PORT}(/{_REPOSITORY})*"
_IMAGE = rf"{_REGISTRY}(:\w[\w.-]{{0,127}}|@sha256:[0-9a-f]{{64}})"
_BUCKET = r"(?=[a-z0-9.-]{3,63}(/|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_CRON = r"@(hourly|daily|weekly|monthly)"
# Kubernetes reads more than these, such as 1e3 and 0x1; nobody who writes them here means them.
_NUMBER = r"(0|[1-9]\d{0,8})(\.\d{1,3})?"
_CPU = rf"([1-9]\d{{0,8}}m|{_NUMBER})", "cores, as 500m, 2 or 0.5"
_BYTES = rf"{_NUMBER}(k|Ki|[MGTP]i?)", "a quantity of bytes, as 512Mi or 4Gi"
_COUNT = r"[1-9]\d{0,3}", "a whole number of at least 1"

# Sizes of every endpoint, and of those that declare their own.
_SIZED = ("SERVING", *(e.sizes.setting for system in systems().values() for e in system.endpoints if e.sizes))

# What each setting must match, and how to say it.
SETTINGS: dict[str, tuple[str, str]] = {
    "SLUICE_NAMESPACE": (_NAME, "a namespace: lower-case letters, digits and hyphens"),
    "SLUICE_DEPLOYMENT_MODE": ("Knative|Standard", "Knative or Standard"),
    "SLUICE_DOMAIN": (_HOST, "a domain"),
    "KFP_HOST": (_URL, "an http or https URL"),
    "KFP_NAMESPACE": (_NAME, "a namespace"),
    "SLUICE_IMAGE": (_IMAGE, "an image with a tag or a digest"),
    "SLUICE_SERVING_IMAGE": (_IMAGE, "an image with a tag or a digest"),
    "SLUICE_MODEL_REGISTRY": (_REGISTRY, "a registry and a path, without oci://"),
    "MLFLOW_TRACKING_URI": (_URL, "an http or https URL"),
    "SLUICE_FEATURE_SERVER": (_URL, "an http or https URL"),
    "FEAST_FS_YAML_FILE_PATH": (rf"(?=/){_PATH}\.yaml", "an absolute path in the image"),
    "FEAST_SCHEDULE": (_CRON, "@hourly, @daily, @weekly or @monthly"),
    "PROMETHEUS": (_URL, "an http or https URL"),
    "SLUICE_GENERATOR_URL": (rf"({_URL})?", "an http or https URL, or nothing: no generator"),
    "SLUICE_GENERATOR_MODEL": (r"(\w[\w./:@-]*)?", "the name of a model, or nothing"),
    "SLUICE_GENERATOR_NAMESPACE": (rf"({_NAME})?", "a namespace, or nothing"),
    "SLUICE_GENERATOR_CIDR": (r"[0-9a-f.:]+/\d{1,3}", "a network, as 203.0.113.7/32"),
    "SLUICE_GENERATOR_PORT": (r"[1-9]\d{0,4}", "a port"),
    "SLUICE_ACCESS": ("required|open", "required or open"),
    "SLUICE_TRUSTED_PROXIES": (r"[0-9a-f.:]+/\d{1,3}(,[0-9a-f.:]+/\d{1,3})*", "networks, as 127.0.0.0/8,10.0.0.0/8"),
    "AWS_ENDPOINT_URL": (_URL, "an http or https URL"),
    "AWS_DEFAULT_REGION": (_NAME, "a region"),
    "SLUICE_BUCKET": (_BUCKET, "a bucket's name"),
    "SLUICE_ARTIFACTS": (rf"s3://{_BUCKET}{_PATH}/?", "an s3:// URL"),
    "SLUICE_CHECKPOINTS": (rf"(?=/){_PATH}|s3://{_BUCKET}{_PATH}/?", "an absolute path or an s3:// URL"),
    "STORAGE_CLASS": (_HOST, "a storage class"),
    **{f"{engine}_SIZE": _BYTES for engine in ("POSTGRES", "REDIS", "MINIO", "BUNDLES", "CHECKPOINTS")},
    "SERVING_MIN_REPLICAS": _COUNT,
    "SERVING_MAX_REPLICAS": _COUNT,
    **{
        f"{who}_{what}{limit}": kind
        for who in _SIZED
        for what, kind in (("CPU", _CPU), ("MEMORY", _BYTES))
        for limit in ("", "_LIMIT")
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
NOWHERE = "127.0.0.1/32"
"""The network of a generator that is not outside of the cluster."""
_NOT_ABOVE = [
    ("SERVING_MIN_REPLICAS", "SERVING_MAX_REPLICAS"),
    *((f"{who}_{what}", f"{who}_{what}_LIMIT") for who in _SIZED for what in ("CPU", "MEMORY")),
]


def read_values(path: Path) -> dict[str, str]:
    """The settings of a values.env, checked; SluiceError with a line for each mistake: file, line and mend."""
    if not path.is_file():
        raise SluiceError(f"{path}: not there; copy that of another overlay and fill it in")
    try:
        lines = path.read_bytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise SluiceError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    values: dict[str, str] = {}
    problems = [f"{path}, {problem}" for problem in _read(lines, values)]
    if missing := [key for key in SETTINGS if key not in values]:
        problems.append(f"{path}: {', '.join(missing)} not set; every setting needs a line")
    problems += [f"{path}: {problem}" for problem in ([] if problems else _together(values))]
    if problems:
        raise SluiceError("\n  ".join(problems))
    return values


def _read(lines: list[str], values: dict[str, str]) -> Iterator[str]:
    """Fill ``values``; each line that is wrong, as "line N: what"."""
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#") and line.isprintable():
            continue
        key, equals, value = line.partition("=")
        if not line.isascii() or not line.isprintable() or " " in line:
            yield f"line {number}: {line!r} has blanks or more than printable ASCII; write NAME=value and nothing else"
        elif not equals:
            yield f"line {number}: {line!r} is neither NAME=value nor a comment"
        elif key not in SETTINGS:
            yield f"line {number}: unknown setting {key!r}; the other overlays' values.env has them all"
        elif key in values:
            yield f"line {number}: {key} is set twice"
        else:
            yield from (f"line {number}: {problem}" for problem in _wrong(key, value))
        if key in SETTINGS:
            values.setdefault(key, value)


def _wrong(key: str, value: str) -> Iterator[str]:
    pattern, meaning = SETTINGS[key]
    if not re.fullmatch(pattern, value, re.ASCII):
        yield f"{key}={value} is not {meaning}" if value else f"{key} has no value; expected {meaning}"
        return
    if meaning in (_CPU[1], _BYTES[1]) and parse_quantity(value) <= 0:
        yield f"{key}={value} is not {meaning}"
    if meaning.startswith("an image") and value.endswith(":latest"):
        yield f"{key}={value}: `latest` names another image tomorrow; name a version or a digest"
    if pattern in (_URL, SETTINGS["SLUICE_GENERATOR_URL"][0]) and value and port_of(value) > 65535:
        yield f"{key}={value}: a port is a number up to 65535"


def port_of(url: str) -> int:
    """The port of an http or https URL that passed its pattern."""
    found = re.match(r"(https?)://[^/:]*:?(\d*)", url)
    assert found is not None
    return int(found[2] or {"http": 80, "https": 443}[found[1]])


def _together(values: dict[str, str]) -> Iterator[str]:
    for low, high in _NOT_ABOVE:
        if parse_quantity(values[low]) > parse_quantity(values[high]):
            yield f"{low}={values[low]} is above {high}={values[high]}"
    if values["KFP_NAMESPACE"] != values["SLUICE_NAMESPACE"]:
        yield (
            f"KFP_NAMESPACE={values['KFP_NAMESPACE']} is not SLUICE_NAMESPACE={values['SLUICE_NAMESPACE']}: the steps "
            "need the account, the settings and the secrets that are in the latter"
        )
    if not (values["SLUICE_ARTIFACTS"] + "/").startswith(f"s3://{values['SLUICE_BUCKET']}/"):
        yield f"SLUICE_ARTIFACTS={values['SLUICE_ARTIFACTS']} is not in SLUICE_BUCKET={values['SLUICE_BUCKET']}"
    yield from _generator(values)


def _generator(values: dict[str, str]) -> Iterator[str]:
    """How predictors reach the generator: a NetworkPolicy knows namespaces, networks and ports, and no hosts."""
    url, model, namespace, cidr, port = (
        values[f"SLUICE_GENERATOR_{part}"] for part in ("URL", "MODEL", "NAMESPACE", "CIDR", "PORT")
    )
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        yield f"SLUICE_GENERATOR_CIDR={cidr} is not a network: {error}"
        return
    if network.prefixlen == 0:
        yield f"SLUICE_GENERATOR_CIDR={cidr} opens the way to every address; name the generator's own network"
    if not url:
        return
    if not model:
        yield f"SLUICE_GENERATOR_MODEL has no value; name the model to ask for at {url}"
    host = urlsplit(url).hostname or ""
    inside = re.fullmatch(r"[^.]+(?:\.([^.]+)\.svc(?:\.cluster\.local)?)?", host)
    if inside and inside[1] not in (None, namespace, values["SLUICE_NAMESPACE"]):
        yield f"SLUICE_GENERATOR_NAMESPACE={namespace} is not {inside[1]}, the namespace of {url}"
    if inside:  # its pods may listen on another port than its Service
        return
    if not namespace and cidr == NOWHERE and port_of(url) != 443:
        yield f"SLUICE_GENERATOR_CIDR={cidr}: no predictor gets to {url}; name the network that it is in"
    if not namespace and int(port) != port_of(url):
        yield f"SLUICE_GENERATOR_PORT={port} is not the port of {url}"
