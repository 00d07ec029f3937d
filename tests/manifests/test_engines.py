"""MLflow's own container command and environment, as the manifests give them, on a real PostgreSQL and a real S3."""

import os
import sys

import engines
import fsspec
import pytest
import sqlalchemy

from manifests.check.build import MANIFESTS, OVERLAYS, build

pytestmark = pytest.mark.e2e


def container(name: str) -> dict:
    (found,) = (o for o in build(OVERLAYS / "staging") if (o["kind"], o["metadata"]["name"]) == ("Deployment", name))
    return found["spec"]["template"]["spec"]["containers"][0]


def environment(given: dict, secrets: dict[str, str]) -> dict[str, str]:
    """The container's variables: secrets and settings from ``secrets``, $(NAME) filled in, as a kubelet does."""
    made: dict[str, str] = {}
    for variable in given["env"]:
        text = variable.get("value", secrets.get(variable["name"], "default"))
        for name, value in made.items():
            text = text.replace(f"$({name})", value)
        made[variable["name"]] = text
    return made


def test_mlflow_keeps_runs_in_postgres_and_artifacts_in_s3(tmp_path):
    from mlflow import MlflowClient

    with engines.postgres() as url, engines.s3(tmp_path) as s3:
        server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            for statement in (MANIFESTS / "components/postgres/databases.sql").read_text().split(";"):
                if statement.strip():
                    connection.execute(sqlalchemy.text(statement))
        server.dispose()
        backend = server.url.set(database="mlflow").render_as_string(hide_password=False)
        given, port = container("mlflow"), engines.free_port()
        told = {"MLFLOW_BACKEND_STORE_URI": backend, "SLUICE_BUCKET": "sluice", **s3}
        told["MLFLOW_S3_ENDPOINT_URL"] = s3["AWS_ENDPOINT_URL"]
        env = {**environment(given, told), "MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(port), "HOME": str(tmp_path)}
        command = [sys.executable, *given["command"][1:]]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_"))}
        with engines.running(command, port, tmp_path / "mlflow.log", env={**clean, **env}):
            client = MlflowClient(f"http://localhost:{port}")
            run = client.create_run("0")
            client.log_metric(run.info.run_id, "mrr", 0.5)
            client.log_text(run.info.run_id, "bundle", "bundle.json")
            assert client.get_run(run.info.run_id).data.metrics == {"mrr": 0.5}
        database = sqlalchemy.create_engine(backend)
        with database.connect() as connection:
            assert connection.execute(sqlalchemy.text("select count(*) from runs")).scalar() == 1
        database.dispose()
        files = fsspec.filesystem(
            "s3",
            key=s3["AWS_ACCESS_KEY_ID"],
            secret=s3["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=s3["AWS_ENDPOINT_URL"],
        )
        assert [path for path in files.find("sluice/mlflow") if path.endswith("bundle.json")]
