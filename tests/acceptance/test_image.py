"""What the Dockerfile does, without Docker: its own commands, in order, in a folder for a root.

Each ``RUN`` is run as it stands there, with ``/opt`` and the working folder moved below a temporary
one, by the Python of this test; then the entry point, with the variables of the image. It fetches
packages from wherever pip is told to. What it cannot show is the base image, the user, and a root
that is read-only.

    HOLDFAST_TEST_DEEP=yes .venv/bin/pytest -n 0 tests/acceptance/test_image.py
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from tests.depth import only_deep
from tests.manifests.dockerfile import Instruction, instructions, of, variables
from tests.manifests.reading import ROOT, joined
from tests.manifests.running import environment, ours
from tests.processes import Process, free_port

pytestmark = only_deep

BUILD_S = 600
_OF_THE_BUILDER = ("PIP_", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_", "REQUESTS_CA")
_SECRETS = {
    "HOLDFAST_SECRET_FILE": "0123456789abcdef0123456789abcdef",
    "STRIPE_API_KEY_FILE": "sk_test_0123456789abcdef",
    "STRIPE_WEBHOOK_SECRET_FILE": "whsec_0123456789abcdef",
}


@dataclass(frozen=True, slots=True)
class Container:
    """A folder that is taken for a root: ``/opt`` of the Dockerfile is ``root/opt``."""

    root: Path

    def moved(self, text: str) -> str:
        return text.replace("/opt/", f"{self.root}/opt/")

    @property
    def path(self) -> str:
        """The search path of the base image: a ``python``, and the system's own."""
        return f"{self.root}/bin:/usr/bin:/bin"

    def play(self, stage: str) -> None:
        """Do what a stage says."""
        here = self.root
        for one in instructions():
            if one.stage != stage:
                continue
            match one.word:
                case "WORKDIR":
                    here = self.root / one.rest.strip("/")
                    here.mkdir(parents=True)
                case "COPY":
                    copy(one, here)
                case "RUN":
                    self.run(["sh", "-euc", self.moved(one.rest)], here)

    def run(self, command: Sequence[str], here: Path, **env: str) -> str:
        kept = {
            name: value for name, value in os.environ.items() if name.startswith(_OF_THE_BUILDER)
        }
        done = subprocess.run(
            command,
            cwd=here,
            env={**kept, "PATH": self.path, "HOME": str(self.root), **env},
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def variables(self, stage: str) -> dict[str, str]:
        return {name: self.moved(value) for name, value in variables(stage, self.path).items()}


def copy(instruction: Instruction, here: Path) -> None:
    *sources, target = instruction.words
    if sources[0].startswith("--from="):
        return  # From the stage before, to the same place.
    for source in (ROOT / name for name in sources):
        if source.is_dir():
            shutil.copytree(source, here / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, here / target)


class Started(Process):
    """A process of the image, in a warden's group."""

    def __init__(self, warden: Warden, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.child = subprocess.Popen(
            command,
            cwd="/",
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=warden.group,
        )


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Container:
    """The image, built: all that its last stage takes from the first."""
    made = Container(tmp_path_factory.mktemp("image"))
    (made.root / "bin").mkdir()
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (made.root / "bin" / "python").symlink_to(python)
    made.play("build")
    return made


def command(container: Container, stage: str, *arguments: str) -> list[str]:
    """The entry point, found by the image's own search path."""
    [entry] = of(stage, "ENTRYPOINT")
    first, *rest = entry.words
    found = shutil.which(first, path=container.variables(stage)["PATH"])
    assert found
    assert found.startswith(str(container.root))
    return [found, *rest, *arguments]


def test_the_entry_point_says_what_it_can_do(container: Container) -> None:
    told = container.run(command(container, "holdfast", "--help"), Path("/"))
    assert "serve" in told
    installed = container.root / "opt/holdfast/bin"
    assert not (installed / "pip").exists()


@dataclass(frozen=True, slots=True)
class Told:
    """A pod of the production manifests, as a process here: the image's variables and its own."""

    env: dict[str, str]
    before_the_end: list[str]

    @property
    def ops(self) -> str:
        return f"http://127.0.0.1:{self.env['HOLDFAST_METRICS_PORT']}"

    @property
    def public(self) -> str:
        return f"http://127.0.0.1:{self.env['HOLDFAST_PORT']}"


def told(container: Container, what: str, redis_url: str, folder: Path) -> Told:
    """What the pod that runs ``what`` is told; each secret it names is in a file."""
    world = joined("production")
    [(made, env)] = [
        (one, environment(world, one)) for _, one in ours(world) if one["args"] == [what]
    ]
    held = {"REDIS_URL_FILE": redis_url, **_SECRETS}
    elsewhere = {
        "HOLDFAST_PORT": str(free_port()),
        "HOLDFAST_METRICS_PORT": str(free_port()),
        "HOLDFAST_DRAIN_S": "1",
        # Whatever happens, nobody here talks to Stripe.
        "HOLDFAST_STRIPE_URL": "http://127.0.0.1:1",
    }
    files = secrets(folder, {name: value for name, value in held.items() if name in env})
    hook = made.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    return Told({**container.variables("holdfast"), **env, **elsewhere, **files}, hook)


async def test_the_gateway_of_the_image_serves_and_drains(
    container: Container, warden: Warden, tmp_path: Path
) -> None:
    [what] = of("holdfast", "CMD")[0].words
    with EmbeddedValkey(warden.group) as valkey:
        pod = told(container, what, valkey.url, tmp_path)
        async with Started(warden, command(container, "holdfast", what), pod.env) as process:
            await process.answers(f"{pod.ops}/readyz")
            await process.answers(f"{pod.public}/readyz")
            assert f"\n{metric_of_the_autoscaler()} 0.0\n" in (await ask(pod, "/metrics")).text
            healthy(container, pod)
            container.run(pod.before_the_end, Path("/"), **pod.env)
            answer = await ask(pod, "/readyz")
            assert answer.status_code == 503
            assert "draining" in answer.json()["failing"]
            assert await process.stop() == -signal.SIGTERM  # After its own end, as is the custom.
        with pytest.raises(AssertionError, match="refused"):
            healthy(container, pod)


@pytest.mark.parametrize("what", ["relay", "sweep"])
async def test_with_the_secrets_of_its_pod_a_process_of_the_image_is_ready(
    container: Container, warden: Warden, tmp_path: Path, what: str
) -> None:
    with EmbeddedValkey(warden.group) as valkey:
        pod = told(container, what, valkey.url, tmp_path)
        async with Started(warden, command(container, "holdfast", what), pod.env) as process:
            await process.answers(f"{pod.ops}/readyz")
            healthy(container, pod)
            await process.stop()


def healthy(container: Container, pod: Told) -> None:
    """The health check of the image, as it stands there."""
    [check] = of("holdfast", "HEALTHCHECK")
    container.run(check.words, Path("/"), **pod.env)


async def ask(pod: Told, path: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"{pod.ops}{path}")


def metric_of_the_autoscaler() -> str:
    scaler = joined("production").named("HorizontalPodAutoscaler", "gateway")
    assert scaler
    found: str = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    return found


def secrets(folder: Path, held: Mapping[str, str]) -> dict[str, str]:
    """Each in a file, as a pod has them."""
    for name, value in held.items():
        (folder / name).write_text(f"{value}\n")
    return {name: str(folder / name) for name in held}


def test_the_load_of_the_image_knows_its_shoppers(container: Container) -> None:
    container.play("load")
    entry = command(container, "load", "--list")
    assert "Shopper" in container.run(entry, container.root / "srv")
