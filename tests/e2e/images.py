"""The Dockerfile built with buildah on a Debian base of our own making, and its images run as the cluster would.

Needs root, buildah, debootstrap and bubblewrap. With SLUICE_IMAGE_CACHE naming a folder, the base image's files and the
wheels are kept there for the next time (several GB).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
CACHE = os.environ.get("SLUICE_IMAGE_CACHE")
TOOLS = ("buildah", "debootstrap", "bwrap", "chroot", "tar")
DEBIAN = "http://deb.debian.org/debian"
SYSTEM = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# As in the official image: Python in /usr/local with a pip that may install, no package lists.
AS_OFFICIAL = f"""set -e
export PATH={SYSTEM}
rm /usr/lib/python3.11/EXTERNALLY-MANAGED
ln -s /usr/bin/python3.11 /usr/local/bin/python
ln -s /usr/bin/python3.11 /usr/local/bin/python3
wheel=$(echo /usr/share/python-wheels/pip-*.whl)
python "$wheel/pip" install -q --root-user-action=ignore --no-index --no-cache-dir \
    --find-links /usr/share/python-wheels pip
rm -rf /debootstrap /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
"""


def missing() -> str:
    """Why images cannot be built here; empty if they can."""
    if os.geteuid():
        return "building an image here needs root"
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"not installed: {', '.join(absent)}" if absent else ""


def run(*command: object, **options: Any) -> str:
    """Standard output; a failure shows the end of what was said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


class Images:
    """An image store of its own below ``home``; `close` removes it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cache = Path(CACHE) if CACHE else home / "cache"
        self.cache.mkdir(parents=True, exist_ok=True)
        (home / "tmp").mkdir()
        self._environment = {**os.environ, "TMPDIR": str(home / "tmp")}
        self._containers: list[str] = []
        store = ("buildah", "--root", home / "storage", "--runroot", home / "run", "--storage-driver")
        # Overlays do not lie on overlays, as in a container of a CI: there every image is a copy.
        overlay = subprocess.run([*store, "overlay", "info"], capture_output=True, check=False).returncode == 0
        self._buildah = (*store, "overlay" if overlay else "vfs")

    def buildah(self, *words: object) -> str:
        return run(*self._buildah, *words, env=self._environment)

    def import_base(self) -> None:
        """The image that the Dockerfile begins with, out of Debian's own packages."""
        packed = self.cache / "base.tar"
        if not packed.exists():
            root = self.home / "rootfs"
            # Not python3.11-venv: debootstrap cannot resolve the virtual package that it depends on.
            packages = "--include=python3.11,python3-pip-whl,python3-setuptools-whl,ca-certificates"
            run("debootstrap", "--variant=minbase", packages, "bookworm", root, DEBIAN)
            run("chroot", root, "sh", "-c", AS_OFFICIAL)
            run("tar", "-C", root, "-cf", self.home / "base.tar", ".")
            shutil.rmtree(root)
            shutil.move(self.home / "base.tar", packed)
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, packed, "/")
        self.buildah("config", "--env", f"PATH={SYSTEM}", "--env", "LANG=C.UTF-8", "--cmd", "python3", container)
        self.buildah("commit", "--quiet", "--rm", container, BASE)

    def fetch_wheels(self) -> None:
        """The very files of the locks, by this machine's own pip with its settings; the build then needs no index."""
        wheels = self.cache / "wheels"
        pip = (sys.executable, "-m", "pip", "download", "-q", "-d", wheels, "-f", wheels)
        for lock in ("build", "serving", "trainer", "sbom"):
            # A source file's metadata would want its build's own packages.
            locked = ROOT / ".ci" / "locks" / f"{lock}.txt"
            run(*pip, "--no-deps", "--no-build-isolation", "--require-hashes", "-r", locked)
        # Debian's Python 3.11.2 needs the second, and one that is newer leaves it out of its download.
        run(*pip, "torch", "async-timeout", "-c", ROOT / "constraints.txt")
        (self.home / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /mnt\n")

    def build(self, target: str) -> None:
        """One target of the Dockerfile, as an image of that name."""
        self.buildah(
            "bud", "--isolation", "chroot", "--network", "host", "--format", "docker", "--pull-never",
            "--volume", f"{self.home / 'pip.conf'}:/etc/pip.conf:ro", "--volume", f"{self.cache / 'wheels'}:/mnt:ro",
            "--build-arg", "REVISION=0123abc", "--target", target, "--tag", target, ROOT,
        )  # fmt: skip

    def config(self, image: str) -> dict[str, Any]:
        """The image's configuration: User, Env, Entrypoint, Cmd, Labels, Healthcheck, Volumes."""
        told: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", image))["Docker"]["config"]
        return told

    def megabytes(self, image: str) -> int:
        [told] = json.loads(self.buildah("images", "--json", image))
        return round(float(told["size"].split()[0]) * {"MB": 1, "GB": 1000}[told["size"].split()[1]])

    def container(self, image: str, volume: Path) -> "Container":
        name = self.buildah("from", "--pull-never", image)
        self._containers.append(name)
        return Container(Path(self.buildah("mount", name)), self.config(image), volume)

    def close(self) -> None:
        """Unmount and remove everything that was stored."""
        if self._containers:
            self.buildah("umount", *self._containers)
        shutil.rmtree(self.home)


class Container:
    """An image's files, read-only, run as its own user without capabilities; /tmp and its volume can be written."""

    def __init__(self, root: Path, config: dict[str, Any], volume: Path) -> None:
        self.root = root
        self.config = config
        self.volume = volume
        user, group = (int(number) for number in config["User"].split(":"))
        volume.mkdir(exist_ok=True)
        os.chown(volume, user, group)
        [home] = config["Volumes"]
        environment = [word for pair in config["Env"] for word in ("--setenv", *pair.split("=", 1))]
        self._box = [
            "bwrap", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp",
            "--bind", volume, home, "--chdir", config["WorkingDir"], "--unshare-pid", "--unshare-ipc",
            "--die-with-parent", "--clearenv", *environment,
            "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP",
        ]  # fmt: skip
        self._user = [
            "setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs", "--inh-caps=-all",
            "--bounding-set=-all",
        ]  # fmt: skip

    def command(self, *words: object, binds: dict[Path, str] | None = None) -> list[str]:
        """The command line that runs ``words`` inside, with files of ours bound read-only at the paths given."""
        bound = [word for source, target in (binds or {}).items() for word in ("--ro-bind", source, target)]
        return [str(word) for word in (*self._box, *bound, *self._user, *words)]

    def run(self, *words: object) -> str:
        return run(*self.command(*words))
