"""What the settings of a cluster become in the compiled pipeline, and what is refused in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cluster import OWN, on_cluster, read_cluster
from pipelines.compiling import Compiled, compile_system
from serving.contract.errors import SluiceError


def settings(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


def documents(compiled: Compiled) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline, and its executors' settings of the platform Kubernetes."""
    pipeline, platform = yaml.safe_load_all(compiled.path.read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """`codebase` for a cluster with a GPU for training and an artifact store of its own."""
    folder = tmp_path_factory.mktemp("tuned")
    own = yaml.safe_load(OWN.read_text())
    own |= {"image": "registry.example/sluice@sha256:1", "pipeline_root": "s3://artifacts/runs", "study_workers": 3}
    own["steps"]["train"] |= {
        "image": "registry.example/sluice:cuda",
        "gpu": 2,
        "cpu_limit": 8,
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "volumes": [{"path": "/data", "claim": "sources"}],
        "env": {"NCCL_DEBUG": "WARN"},
    }
    own["steps"]["merge"]["cache"] = False
    return compile_system("codebase", folder / "codebase.yaml", read_cluster(settings(folder, yaml.safe_dump(own))))


def test_every_step_gets_its_size_retries_place_and_secrets(tuned: Compiled) -> None:
    pipeline, platform = documents(tuned)
    executors = pipeline["deploymentSpec"]["executors"]
    assert set(platform) == set(executors), "no step is left out"
    train = executors["exec-train"]["container"]
    assert train["image"] == "registry.example/sluice:cuda"
    assert executors["exec-gate"]["container"]["image"] == "registry.example/sluice@sha256:1"
    assert train["resources"]["resourceCpuRequest"] == "4" and train["resources"]["resourceCpuLimit"] == "8"
    assert train["resources"]["resourceMemoryLimit"] == train["resources"]["resourceMemoryRequest"] == "8Gi"
    assert train["resources"]["accelerator"] == {
        "type": "nvidia.com/gpu", "count": "2", "resourceType": "nvidia.com/gpu", "resourceCount": "2"
    }  # fmt: skip
    environment = {one["name"]: one["value"] for one in train["env"]}
    assert environment["OMP_NUM_THREADS"] == "8" and environment["NCCL_DEBUG"] == "WARN"
    assert train["args"][-2:] == ["--sluice_code_digest", environment["SLUICE_CODE_DIGEST"]]
    placed = platform["exec-train"]
    assert placed["nodeSelector"]["labels"] == {"pool": "gpu"}
    assert placed["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert placed["pvcMount"][0]["constant"] == "sources" and placed["pvcMount"][0]["mountPath"] == "/data"
    assert placed["activeDeadlineSeconds"] == "86400"
    other = platform["exec-gate"]
    assert [mount["mountPath"] for mount in other["emptyDirMounts"]] == ["/var/lib/sluice", "/tmp"]
    assert other["podMetadata"]["labels"] == {"app.kubernetes.io/part-of": "sluice"}
    assert other["securityContext"] == {"runAsNonRoot": True, "runAsUser": "10001"}
    held = {(one["configMapName"], one["optional"]) for one in other["configMapAsEnv"]}
    assert held == {("sluice-settings", False), ("sluice-settings", True)}
    keys = [one["secretKey"] for source in other["secretAsEnv"] for one in source["keyToEnv"]]
    assert {"SLUICE_STUDY", "AWS_SECRET_ACCESS_KEY"} <= set(keys)


def test_retries_caching_workers_and_artifacts_are_as_the_file_says(tuned: Compiled) -> None:
    pipeline, _ = documents(tuned)
    tasks = pipeline["root"]["dag"]["tasks"]
    assert tasks["train"]["retryPolicy"] == {
        "maxRetryCount": 2, "backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "900s"
    }  # fmt: skip
    cached = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert "train" in cached and not {"merge", "champion"} & cached
    assert pipeline["defaultPipelineRoot"] == "s3://artifacts/runs"
    (loop,) = (task for task in tasks.values() if "parameterIterator" in task)
    assert loop["parameterIterator"]["items"]["raw"] == "[0, 1, 2]"
    assert "service account sluice-pipeline" in pipeline["pipelineInfo"]["description"]


def test_the_digest_follows_the_settings(compiled: Compiled, tuned: Compiled) -> None:
    assert compiled.digest != tuned.digest


def test_pages_for_people_are_artifacts_that_the_ui_shows(compiled: Compiled) -> None:
    pipeline, _ = documents(compiled)
    shown = {
        name.removeprefix("comp-")
        for name, component in pipeline["components"].items()
        for output in component.get("outputDefinitions", {}).get("artifacts", {}).values()
        if output["artifactType"]["schemaTitle"] == "system.HTML"
    }
    assert {"validate", "train", "quantize", "evaluate", "gate", "rollout", "report"} <= shown


def test_the_form_of_a_run_explains_itself(compiled: Compiled) -> None:
    pipeline, _ = documents(compiled)
    assert pipeline["pipelineInfo"]["displayName"] == "Codebase: cited answers about a source tree"
    assert all(len(given["description"]) > 40 and "defaultValue" in given for given in compiled.parameters.values())
    assert all(title[0].isupper() and " " in title or title in {"Featurize", "Quantize", "Report"}
               for title in compiled.titles.values())  # fmt: skip


@pytest.mark.filterwarnings("ignore:You may be attemping to run a task that uses custom:RuntimeWarning")
def test_what_only_a_cluster_knows_is_ignored_by_a_laptop(tmp_path: Path) -> None:
    from kfp import dsl, local

    from components.common.step import step
    from pipelines.tasks import named

    @step
    def answer() -> str:
        return "forty-two"

    with on_cluster(read_cluster()):

        @dsl.pipeline(name="tiny")
        def tiny() -> str:
            return named(answer(), "Answer", "gate", kind="retrieval").output  # type: ignore[no-any-return]

    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    with pytest.warns(UserWarning, match="no effect in the current local runner"):
        assert tiny().output == "forty-two"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps: {trane: {cpu: 2}}", "no step trane; there is base, champion"),
        ("steps: {train: {memory: 8GB}}", "steps.train.memory: '8GB' is not a quantity"),
        ("defaults: {cpu: two}", "defaults.cpu: 'two' is not a quantity"),
        ("steps: {train: {gpus: 1}}", "steps.train.gpus: Extra inputs are not permitted"),
        ("steps: {train: 3}", "steps.train: "),
        ("defaults: {volumes: [{path: data}]}", "defaults.volumes.0.path"),
        ("defaults: {tolerations: [{value: x}]}", "a toleration without key needs operator: Exists"),
        ("- a list", "not a YAML mapping"),
        ("steps: {", "not a YAML mapping"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence_that_says_where(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SluiceError, match=r"mine\.yaml: ") as told:
        read_cluster(settings(tmp_path, text))
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_a_file_of_settings_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="No such file or directory; name a readable file with --cluster"):
        read_cluster(tmp_path / "absent.yaml")


def test_the_projects_own_settings_name_variables_that_the_manifests_give() -> None:
    cluster, manifests = read_cluster(), OWN.parents[1] / "manifests"
    for values in manifests.glob("overlays/*/values/values.env"):
        given = {line.partition("=")[0] for line in values.read_text().splitlines()}
        assert {key for source in cluster.config for key in source.required} <= given, values
    secrets = yaml.safe_load((manifests / "check" / "secrets.yaml").read_text())
    for source in cluster.secrets:
        assert {*source.required, *source.optional} <= set(secrets[source.name])
