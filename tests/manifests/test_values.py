"""values.env is read strictly: what is not written plainly is a line of its own among the mistakes."""

from pathlib import Path

import pytest

from manifests.check.build import MANIFESTS, OVERLAYS, build
from manifests.check.combinations import _combined
from manifests.check.values import SETTINGS, read_values
from serving.contract.errors import SluiceError

TEXT = (OVERLAYS / "staging" / "values" / "values.env").read_text()


def told(path: Path, text: str) -> list[str]:
    path.write_bytes(text.encode())
    with pytest.raises(SluiceError) as raised:
        read_values(path)
    return str(raised.value).splitlines()


def with_value(key: str, value: str) -> str:
    return "\n".join(f"{key}={value}" if line.startswith(f"{key}=") else line for line in TEXT.split("\n"))


VALUES = {
    "SLUICE_NAMESPACE has no value": ("SLUICE_NAMESPACE=sluice-staging", "SLUICE_NAMESPACE="),
    "KFP_HOST not set": ("KFP_HOST=", "# KFP_HOST="),
    "unknown setting 'SLUICE_NAMSPACE'": ("SLUICE_NAMESPACE=", "SLUICE_NAMSPACE="),
    "neither NAME=value nor a comment": ("STORAGE_CLASS=standard", "STORAGE_CLASS:standard"),
    "is not Knative or Standard": ("MODE=Knative", "MODE=Serverless"),
    "is not an image with a tag": ("trainer:0.1.0", "trainer"),
    "names another image tomorrow": ("serving:0.1.0", "serving:latest"),
    "is not a quantity": ("SERVING_MEMORY=1Gi", "SERVING_MEMORY=1gigabyte"),
    "SERVING_CPU=4 is above SERVING_CPU_LIMIT=2": ("SERVING_CPU=1", "SERVING_CPU=4"),
    "is above SERVING_MAX_REPLICAS": ("SERVING_MIN_REPLICAS=1", "SERVING_MIN_REPLICAS=3"),
    "is not a whole number of at least 1": ("SERVING_MIN_REPLICAS=1", "SERVING_MIN_REPLICAS=0"),
    "is not SLUICE_NAMESPACE=sluice-staging": ("KFP_NAMESPACE=sluice-staging", "KFP_NAMESPACE=kubeflow"),
    "is not in SLUICE_BUCKET": ("SLUICE_ARTIFACTS=s3://sluice-staging", "SLUICE_ARTIFACTS=s3://other"),
    "is set twice": ("STORAGE_CLASS=standard", "STORAGE_CLASS=standard\nSTORAGE_CLASS=fast"),
}


@pytest.mark.parametrize("sentence", VALUES)
def test_a_wrong_value_is_told_with_its_file_before_anything_is_built(sentence, tmp_path):
    before, after = VALUES[sentence]
    assert before in TEXT
    lines = told(tmp_path / "values.env", TEXT.replace(before, after, 1))
    assert any(sentence in line and str(tmp_path / "values.env") in line for line in lines)


DISGUISED = (" {}", "{} ", "\t{}", "{}\r", "{}\x00", "{}\x0b", "{}\u00a0", "{}\u2028", "\ufeff{}")
QUOTED = ('"{}"', "'{}'", "${}", "$({})", "{}#x", "{}%", "-{}", "+{}", "{};")
ODD_NUMBERS = (
    "Infinity",
    "inf",
    "NaN",
    "1_0",
    "0x1",
    "1e3",
    "1E3",
    "01",
    "1.",
    ".5",
    "\u0661",
    "\uff11",
    "1,5",
    "1O",
    "0",
)


@pytest.mark.parametrize("key", SETTINGS)
def test_no_value_may_be_disguised(key, tmp_path):
    plain = read_values(OVERLAYS / "staging" / "values" / "values.env")[key]
    for form in (*DISGUISED, *QUOTED):
        lines = told(tmp_path / "values.env", with_value(key, form.format(plain)))
        assert any(key in line for line in lines), form


@pytest.mark.parametrize(
    ("key", "further"),
    [
        ("SERVING_MIN_REPLICAS", ("1m", "1Gi", "1.5", "2k")),
        ("SERVING_MAX_REPLICAS", ("two", "99999")),
        ("SERVING_CPU", ("1k", "1Gi", "0m", "0.5m", "1u", "1n")),
        ("TRANSCRIBER_CPU_LIMIT", ("2cores", "2 ")),
        ("SERVING_MEMORY", ("512", "500m", "1GB", "1gi", "1KI", "1Gi ", "0Gi")),
        ("REDIS_SIZE", ("5", "5G i", "5GiB", "5m")),
    ],
)
def test_numbers_are_plain_ones(key, further, tmp_path):
    for value in (*ODD_NUMBERS, *further):
        lines = told(tmp_path / "values.env", with_value(key, value))
        assert any(key in line for line in lines), value


def test_names_and_addresses_are_whole(tmp_path):
    wrong = {
        "KFP_HOST": ("https://a..b", "https://-a", "https://a:0", "https://a:65536", "https://a/../b", "ftp://a"),
        "SLUICE_IMAGE": ("a:b:c", "registry//image:1", "Registry/image:1", "a@sha256:00", "a:1@"),
        "SLUICE_BUCKET": ("ab", "a..b", "a.-b", "A-bucket", "x" * 64),
        "SLUICE_ARTIFACTS": ("s3://sluice-staging/../other", "s3://sluice-staging//a", "s3:/sluice-staging"),
        "FEAST_FS_YAML_FILE_PATH": ("/opt/../etc/a.yaml", "opt/a.yaml", "/opt/a.yml"),
        "SLUICE_NAMESPACE": ("Sluice", "a.b", "-a", "a" * 64),
        "STORAGE_CLASS": ("standard.", "a..b"),
        "AWS_DEFAULT_REGION": ("-", "us-east-1-"),
    }
    for key, values in wrong.items():
        for value in values:
            lines = told(tmp_path / "values.env", with_value(key, value))
            assert any(f"{key}={value}" in line for line in lines), value


def test_every_mistake_has_a_line(tmp_path):
    text = with_value("SERVING_CPU", "1_0").replace("STORAGE_CLASS=standard", "STORAGE_CLASS=a b")
    lines = told(tmp_path / "values.env", text.replace("SERVING_MEMORY=1Gi", "SERVING_MEMORY=NaN"))
    assert [line.split(": ", 1)[1].split("=")[0].strip("'") for line in lines] == [
        "STORAGE_CLASS", "SERVING_CPU", "SERVING_MEMORY",
    ]  # fmt: skip


def test_a_file_of_another_encoding_is_one_sentence(tmp_path):
    (tmp_path / "values.env").write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(SluiceError, match="not UTF-8"):
        read_values(tmp_path / "values.env")


def test_both_overlays_set_the_same_settings_in_the_same_order():
    for overlay in ("staging", "production"):
        assert list(read_values(OVERLAYS / overlay / "values" / "values.env")) == list(SETTINGS)


GENERATOR = {
    "SLUICE_GENERATOR_MODEL has no value": {"MODEL": ""},
    "is not models, the namespace": {"URL": "http://vllm.models.svc:80/v1", "NAMESPACE": "other"},
    "is not the port of": {"PORT": "9000"},
    "no predictor gets to": {"CIDR": "127.0.0.1/32"},
    "opens the way to every address": {"CIDR": "0.0.0.0/0"},
    "is not a network": {"CIDR": "203.0.113.7/24"},
}


def generator_text(**given: str) -> str:
    known = {"URL": "http://llm.example.com:8000/v1", "MODEL": "m", "NAMESPACE": "", "CIDR": "203.0.113.0/24"}
    text = TEXT
    for part, value in {**known, "PORT": "8000", **given}.items():
        text = "\n".join(
            f"SLUICE_GENERATOR_{part}={value}" if line.startswith(f"SLUICE_GENERATOR_{part}=") else line
            for line in text.split("\n")
        )
    return text


@pytest.mark.parametrize("sentence", GENERATOR)
def test_a_generator_that_predictors_cannot_reach_is_told(sentence, tmp_path):
    assert any(sentence in line for line in told(tmp_path / "values.env", generator_text(**GENERATOR[sentence])))


@pytest.mark.parametrize(
    ("given", "peer", "port"),
    [
        ({}, {"ipBlock": {"cidr": "203.0.113.0/24"}}, 8000),
        (
            {"URL": "http://vllm.models.svc/v1", "NAMESPACE": "models", "CIDR": "127.0.0.1/32"},
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}},
            8000,
        ),
    ],
    ids=["a network", "a namespace"],
)
def test_a_generator_gets_a_way_out_and_its_variables(given, peer, port, tmp_path):
    (tmp_path / "values.env").write_text(generator_text(**given))
    values = read_values(tmp_path / "values.env")
    found = {(o["kind"], o["metadata"]["name"]): o for o in _combined(["platform", "base"], (), values)}
    (rule,) = found["NetworkPolicy", "sluice-generator"]["spec"]["egress"]
    assert peer in rule["to"]
    assert [p["port"] for p in rule["ports"]] == [port]
    # Every predictor reads sluice-settings, and its key from the Secret beside it.
    (container,) = found["ServingRuntime", "sluice"]["spec"]["containers"]
    assert {"configMapRef": {"name": "sluice-settings"}} in container["envFrom"]
    assert {"secretRef": {"name": "sluice-serving"}} in container["envFrom"]
    assert found["ConfigMap", "sluice-settings"]["data"]["SLUICE_GENERATOR_URL"] == values["SLUICE_GENERATOR_URL"]


def test_without_a_generator_its_policy_leads_nowhere():
    assert MANIFESTS.is_dir()
    (policy,) = (o for o in build(OVERLAYS / "staging") if o["metadata"]["name"] == "sluice-generator")
    (rule,) = policy["spec"]["egress"]
    assert rule["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ""}}},
        {"ipBlock": {"cidr": "127.0.0.1/32"}},
    ]
