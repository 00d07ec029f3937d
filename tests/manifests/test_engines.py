"""The engines' own container commands, environments and probes, as the manifests give them, on real servers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import engines
import fsspec
import pytest
import sqlalchemy

from manifests.check.build import MANIFESTS, OVERLAYS, build

PASSWORD = 'it\'s "a" $(date) ~* #pass word\\'


def container(name: str, kind: str = "Deployment") -> dict:
    (found,) = (o for o in build(OVERLAYS / "staging") if (o["kind"], o["metadata"]["name"]) == (kind, name))
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


@pytest.fixture
def redis(tmp_path):
    """The StatefulSet's container on this machine: its shell, server, variables; its folders in ``tmp_path``."""
    if not shutil.which("redis-server"):
        pytest.skip("no Redis here: apt-get install redis-server")
    given, port = container("redis", "StatefulSet"), engines.free_port()
    for mount in given["volumeMounts"]:
        (tmp_path / mount["mountPath"].lstrip("/")).mkdir(parents=True)

    def here(text: str) -> str:
        for mount in given["volumeMounts"]:
            text = text.replace(mount["mountPath"], f"{tmp_path}{mount['mountPath']}")
        return text.replace("redis-server ", f"redis-server --port {port} --bind 127.0.0.1 ")

    return given, [here(word) for word in given["command"]], port


def arguments_of(process: int) -> str:
    """The command lines of a process and all below it, as ``ps`` shows them to everybody."""
    below = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = Path(f"/proc/{process}/cmdline").read_bytes().decode()
    return own + "".join(arguments_of(int(one)) for one in below)


def test_redis_wants_its_password_and_shows_it_nowhere(redis, tmp_path):
    given, command, port = redis
    env = {"PATH": os.environ["PATH"], **environment(given, {"REDISCLI_AUTH": PASSWORD})}
    told = {"env": env, "cwd": tmp_path}
    probe = [word.replace("redis-cli ", f"redis-cli -p {port} ") for word in given["readinessProbe"]["exec"]["command"]]
    with engines.running(command, port, tmp_path / "redis.log", **told) as server:
        engines.wait_for(lambda: subprocess.run(probe, **told).returncode == 0, server)
        assert PASSWORD not in arguments_of(server.pid)
        assert "redis-server" in arguments_of(server.pid)
        for other in ({}, {"REDISCLI_AUTH": "wrong"}, {"REDISCLI_AUTH": ""}):
            asked = subprocess.run(["redis-cli", "-p", str(port), "dbsize"], env={"PATH": env["PATH"], **other},
                                   capture_output=True, text=True)  # fmt: skip
            assert "NOAUTH" in asked.stdout
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in written


def test_redis_does_not_start_without_a_password(redis, tmp_path):
    given, command, _ = redis
    env = {"PATH": os.environ["PATH"], **environment(given, {"REDISCLI_AUTH": ""})}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "REDIS_PASSWORD of the Secret sluice-engines is empty" in done.stderr


@pytest.mark.e2e
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
