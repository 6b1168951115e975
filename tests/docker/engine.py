"""An engine for containers that nobody else uses, and the image that nodes run in it.

    tools     docker's own, if they are installed; else Debian's packages, unpacked into the cache and not installed
    engine    dockerd on a socket in a scratch folder, in the namespace of the bridges: no rule and no interface of the
              machine is touched, and containers have no way out
    base      `mmdebstrap` from the machine's own package sources, where nobody can pull an image
    wheels    all that requirements.lock names, by its hashes
    image     what the Dockerfile makes of them, without a network

Tools, base, wheels and the layer of the image that holds the wheels are kept in a folder of the user's cache, named by
what they are made of: a second run takes seconds. Whatever is not taken again for some weeks may be deleted there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.docker.ring import until
from tests.docker.wires import ROOT, Wires

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vcd-tests"
PACKAGES = ("docker.io", "mmdebstrap")
INCLUDED = "python3,python3-venv,libgmp10"
BASE, BUILT, IMAGE = "vcd-base:test", "vcd-build:test", "vcd:test"
USER = 10001
SOURCES = (
    *("mls", "transport", "vcd", "config", "pyproject.toml", "README.md", "Dockerfile", ".dockerignore"),
    *("requirements.lock", "requirements-build.lock"),
)
LONG = 900.0
"""Seconds for what is fetched and built once."""
QUICK = 60.0


ROOM = 6 << 30
"""Bytes of memory that have to be free for the engine's folder to be in it."""


class NoEngine(Exception):
    """This machine can run no containers. The text says why."""


def run(*command: str | Path, within: float = QUICK, env: dict[str, str] | None = None, text: str | None = None) -> str:
    """Its output; `NoEngine` if it fails."""
    try:
        done = subprocess.run(
            [str(each) for each in command],
            capture_output=True,
            text=True,
            timeout=within,
            env=env,
            input=text,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoEngine(f"{command[0]}: {error}") from None
    if done.returncode:
        raise NoEngine(f"{' '.join(str(each) for each in command[:6])}: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout


def digest(*parts: bytes | str) -> str:
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8) + data)
    return found.hexdigest()[:16]


def suits() -> bool:
    """Whether this is a machine where containers have to work: root, on Debian or Ubuntu."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    with suppress(OSError):
        text = Path("/etc/os-release").read_text(encoding="utf-8")
        return any(line.startswith("ID=") and line[3:].strip('"') in {"debian", "ubuntu"} for line in text.splitlines())
    return False


# ---------------------------------------------------------------- tools


def tools() -> dict[str, str]:
    """An environment in which dockerd, docker, containerd, runc and mmdebstrap are found."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if all(shutil.which(each) for each in ("dockerd", "docker", "containerd", "runc", "mmdebstrap")):
        return dict(os.environ)
    release = digest(Path("/etc/os-release").read_bytes(), " ".join(PACKAGES))
    there = CACHE / f"tools-{release}"
    if not there.exists():
        _unpack(there)
    folders = [there / each for each in ("usr/sbin", "usr/bin", "sbin", "bin")]
    libraries = sorted({str(each.parent) for each in there.glob("usr/lib/**/*.so*")})
    return {
        **os.environ,
        "PATH": os.pathsep.join([*(str(each) for each in folders), os.environ.get("PATH", "")]),
        **({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}),
        "PERL5LIB": str(there / "usr/share/perl5"),
    }


def _unpack(there: Path) -> None:
    """Not installed: a package's scripts would start an engine of their own, on the machine's network."""
    fetched = CACHE / "debs"
    (fetched / "partial").mkdir(parents=True, exist_ok=True)
    run("apt-get", "update", "-qq", within=LONG)
    options = ("-o", f"Dir::Cache::archives={fetched}/", "-o", "APT::Sandbox::User=root")
    run(
        *("apt-get", "install", "-y", "-qq", "--no-install-recommends", "--download-only", *options, *PACKAGES),
        within=LONG,
    )
    new = there.with_name(f"{there.name}.{os.getpid()}")
    for package in sorted(fetched.glob("*.deb")):
        run("dpkg-deb", "-x", package, new)
    shutil.rmtree(fetched)
    new.replace(there)


# ---------------------------------------------------------------- what the image is made of


def base(env: dict[str, str]) -> Path:
    """A file system of this machine's release, with Python, as a tarball."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines() if "=" in line
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    there = CACHE / f"base-{codename}-{digest(INCLUDED)}.tar"
    if not there.exists():
        sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
        lists = [each for each in sources if each.is_file() and each.suffix in {".list", ".sources"}]
        new = there.with_name(f"{os.getpid()}-{there.name}")
        run(
            *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={INCLUDED}", "--quiet"),
            *("--aptopt=Acquire::Languages none", "--dpkgopt=path-exclude=/usr/share/doc/*", codename),
            new,
            *lists,
            within=LONG,
            env=env,
        )
        new.replace(there)
    return there


def wheels() -> Path:
    """A folder of wheels for this Python, which has to be the base's as well: the one that the release has."""
    system = run("/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2])").split()
    if system != [str(each) for each in sys.version_info[:2]]:
        raise NoEngine(f"wheels are made by Python {sys.version_info[0]}.{sys.version_info[1]}, the base has another")
    locks = [(ROOT / name).read_bytes() for name in ("requirements.lock", "requirements-build.lock")]
    there = CACHE / f"wheels-{digest(*locks, sys.version)}"
    if not there.exists():
        new = there.with_name(f"{there.name}.{os.getpid()}")
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "wheel", "--quiet")
        env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        for lock in ("requirements-build.lock", "requirements.lock"):
            run(
                *pip,
                *("--require-hashes", "--no-build-isolation", "--use-pep517", "-w", new, "-r", ROOT / lock),
                within=LONG,
                env=env,
            )
        new.replace(there)
    return there


class Engine:
    """Runs until it is closed; then nothing of it is left but the cache."""

    def __init__(self, wires: Wires, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        if _memory() > ROOM:  # images come and go in memory, ten times as fast
            run("mount", "-t", "tmpfs", "-o", "mode=0700", "vcd", folder)
        self.env = tools()
        self._socket = folder / "docker.sock"
        self.env |= {"DOCKER_HOST": f"unix://{self._socket}", "DOCKER_CONFIG": str(folder / "client")}
        where = (f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid")
        nothing = ("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--bridge=none")
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                wires.inside(
                    *("unshare", "--mount", "--propagation", "slave", "dockerd", f"--host=unix://{self._socket}"),
                    *(*where, *nothing, "--userland-proxy=false", "--storage-driver=overlay2"),
                ),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._answers, "the engine does not start", QUICK)
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise NoEngine(f"dockerd ended: {(self.folder / 'log').read_text(encoding='utf-8')[-2000:]}")
        if not self._socket.exists():
            return False
        with suppress(NoEngine):
            self.docker("version")
            return True
        return False

    def docker(self, *command: str | Path, within: float = QUICK) -> str:
        return run("docker", *command, within=within, env=self.env)

    def start(self, name: str, log: Path) -> subprocess.Popen[bytes]:
        """Its exit code is the container's; what the container says goes to the file."""
        with log.open("ab") as file:
            return subprocess.Popen(
                ["docker", "start", "--attach", name],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(QUICK)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _unmount(self.folder)
        subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- the image

    def image(self) -> str:
        """Built for the sources as they are now; its name."""
        recipe = [(ROOT / name).read_bytes() for name in ("Dockerfile", "requirements.lock", "requirements-build.lock")]
        tarball, wheelhouse = base(self.env), wheels()
        kept = CACHE / f"image-{digest(*recipe, tarball.name, wheelhouse.name)}.tar"
        if kept.exists():
            self.docker("load", "--quiet", "--input", kept, within=LONG)
        else:
            self.docker("import", tarball, BASE, within=LONG)
        context = self.folder / "context"
        context.mkdir()
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, context / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy2(ROOT / name, context / name)
        shutil.copytree(wheelhouse, context / "wheelhouse")
        options = (
            "--quiet",
            "--network=none",
            f"--build-arg=BASE={BASE}",
            f"--cache-from={BUILT}",
            f"--cache-from={IMAGE}",
        )
        self.docker("build", *options, "--target=build", f"--tag={BUILT}", context, within=LONG)
        self.docker("build", *options, f"--tag={IMAGE}", context, within=LONG)
        shutil.rmtree(context)
        if not kept.exists():
            new = kept.with_name(f"{os.getpid()}-{kept.name}")
            self.docker("save", "--output", new, BASE, BUILT, IMAGE, within=LONG)
            for old in CACHE.glob("image-*.tar"):
                old.unlink()
            new.replace(kept)
        return IMAGE


def _memory() -> int:
    """Bytes that are to be had."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 0)


def _unmount(folder: Path) -> None:
    """What an engine that was killed left mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for path in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
