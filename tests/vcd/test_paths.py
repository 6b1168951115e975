"""Where things are, by who started vcd; and folders that are not ours alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vcd.paths import SOCKET_PATH, SYSTEM, PathError, find, fitting_socket, prepare, private_folder, user_ids

ALICE = {"HOME": "/home/alice"}
NOBODY = 4_000_000
"""The number of a user who has no entry and no /run/user."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---------------------------------------------------------------- where


def test_xdg_s_usual_places() -> None:
    paths = find({**ALICE, "XDG_RUNTIME_DIR": "/run/user/1000"}, uid=NOBODY)
    assert paths.config_files == (SYSTEM, Path("/home/alice/.config/vcd/vcd.toml"))
    assert paths.state == Path("/home/alice/.local/state/vcd")
    assert paths.runtime == Path("/run/user/1000/vcd")
    assert paths.credentials is None
    assert paths.app_socket() == Path("/run/user/1000/vcd/app.sock")
    assert paths.admin_socket() == Path("/run/user/1000/vcd/admin.sock")


def test_xdg_s_other_places_and_relative_ones_are_ignored() -> None:
    said = {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run", **ALICE}
    paths = find(said, uid=NOBODY)
    assert paths.config_files[-1] == Path("/c/vcd/vcd.toml")
    assert paths.state == Path("/home/alice/.local/state/vcd")
    assert paths.runtime == paths.state / "run"


def test_without_a_session_the_usual_runtime_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell has XDG_RUNTIME_DIR, a cron job does not: both have to find the same socket."""
    real, me = Path.stat, os.getuid()

    def other(path: Path, **options: bool) -> os.stat_result:
        return real(tmp_path if path.parent == Path("/run/user") else path, **options)

    monkeypatch.setattr(Path, "stat", other)
    assert find(ALICE).runtime == Path(f"/run/user/{me}/vcd")
    assert find(ALICE, uid=NOBODY).runtime == Path("/home/alice/.local/state/vcd/run")  # there, but somebody else's


def test_systemd_s_folders() -> None:
    paths = find(
        {
            "STATE_DIRECTORY": "/var/lib/private/vcd/alice:/var/lib/private/other",
            "RUNTIME_DIRECTORY": "/run/vcd/alice",
            "CONFIGURATION_DIRECTORY": "/etc/vcd/alice",
            "CREDENTIALS_DIRECTORY": "/run/credentials/vcd-device@alice.service",
        },
        uid=NOBODY,
    )
    assert paths.config_files == (SYSTEM, Path("/etc/vcd/alice/vcd.toml"))
    assert paths.state == Path("/var/lib/private/vcd/alice")
    assert paths.runtime == Path("/run/vcd/alice")
    assert paths.credentials == Path("/run/credentials/vcd-device@alice.service")
    assert dict(paths.rows())["system config"] == SYSTEM


def test_the_system_s_file_is_not_read_twice() -> None:
    paths = find({"CONFIGURATION_DIRECTORY": "/etc/vcd", **ALICE}, uid=NOBODY)
    assert paths.config_files == (SYSTEM,)


def test_one_folder_for_everything(tmp_path: Path) -> None:
    said = {"VCD_HOME": f"{tmp_path}/x/", "STATE_DIRECTORY": "/var/lib/vcd", "XDG_RUNTIME_DIR": "/run", **ALICE}
    paths = find(said)
    assert paths.config_files == (tmp_path / "x/vcd.toml",)
    assert (paths.state, paths.runtime, paths.credentials) == (tmp_path / "x/state", tmp_path / "x/run", None)
    assert not (tmp_path / "x").exists()  # it only looked
    prepare(paths)
    assert {mode(path) for path in (tmp_path / "x", paths.state, paths.runtime)} == {0o700}
    (tmp_path / "x/credentials").mkdir()
    assert find(said).credentials == tmp_path / "x/credentials"


@pytest.mark.parametrize("variable", ["VCD_HOME", "VCD_SOCKET"])
@pytest.mark.parametrize("said", ["here", "./here", "/a\nb", "~/vcd"])
def test_what_is_asked_for_begins_at_the_root(variable: str, said: str) -> None:
    with pytest.raises(PathError, match=f"{variable} must be a path from the root"):
        find({variable: said, **ALICE})


def test_a_user_without_a_home_is_told_so() -> None:
    with pytest.raises(PathError, match="has no home") as error:
        find({}, uid=NOBODY)
    assert "VCD_HOME" in error.value.hint


def test_which_socket_clients_take() -> None:
    paths = find({**ALICE, "XDG_RUNTIME_DIR": "/r", "VCD_SOCKET": "/run/vcd/bob/app.sock"}, uid=NOBODY)
    assert paths.client_app_socket("/configured") == Path("/run/vcd/bob/app.sock")
    assert paths.client_admin_socket() == Path("/run/vcd/bob/admin.sock")
    assert paths.app_socket() == Path("/r/vcd/app.sock")  # the daemon's own is not moved by it
    plain = find({**ALICE, "XDG_RUNTIME_DIR": "/r"}, uid=NOBODY)
    assert plain.client_app_socket("/configured") == plain.app_socket("/configured") == Path("/configured")
    assert plain.client_admin_socket() == Path("/r/vcd/admin.sock")


def test_credentials(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/vault").write_bytes(b"k")
    (tmp_path / "vcd.toml").write_text("")
    paths = find({"VCD_HOME": str(tmp_path)})
    assert paths.credential("vault") == tmp_path / "credentials/vault"
    assert [paths.credential(name) for name in ("other", "", ".", "..", "../vcd.toml")] == [None] * 5
    assert find({"VCD_HOME": "/nowhere"}).credential("vault") is None


@pytest.mark.parametrize(("length", "fits"), [(SOCKET_PATH, True), (SOCKET_PATH + 1, False)])
def test_sockets_have_short_paths(length: int, fits: bool) -> None:
    path = Path("/" + "é" * ((length - 1) // 2) + "a" * ((length - 1) % 2))
    assert len(os.fsencode(path)) == length
    if fits:
        assert fitting_socket(path) == path
    else:
        with pytest.raises(PathError, match="at most 107"):
            fitting_socket(path)


def test_the_limit_is_the_kernel_s(tmp_path: Path) -> None:
    import socket

    at = tmp_path / ("a" * (SOCKET_PATH - len(os.fsencode(tmp_path)) - 1))
    if len(os.fsencode(at)) != SOCKET_PATH:
        pytest.skip("the folder for temporary files has a longer path itself")
    with socket.socket(socket.AF_UNIX) as fits:
        fits.bind(os.fsencode(at))
    with socket.socket(socket.AF_UNIX) as does_not, pytest.raises(OSError, match="too long"):
        does_not.bind(os.fsencode(at) + b"a")


def test_users_by_name_and_number() -> None:
    assert user_ids(["root", "1000", "0"]) == {0, 1000}
    assert user_ids([]) == frozenset()
    with pytest.raises(PathError, match="there is no user 'no-such-user'"):
        user_ids(["root", "no-such-user"])


# ---------------------------------------------------------------- folders


def test_made_for_us_alone_whatever_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(tmp_path / "a/b/c")
    finally:
        os.umask(before)
    assert {mode(tmp_path / path) for path in ("a", "a/b", "a/b/c")} == {0o700}
    private_folder(tmp_path / "a/b/c")  # again


@pytest.mark.parametrize("bits", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_attack_a_folder_that_others_can_write_into(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(bits)
    with pytest.raises(PathError, match="others can write into") as error:
        private_folder(folder)
    assert error.value.hint == f"chmod 700 {folder}"


def test_a_folder_that_others_can_only_read_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o711)  # for clients who are other users
    private_folder(folder)
    assert mode(folder) == 0o711


def test_attack_a_folder_that_somebody_else_made_before(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with pytest.raises(PathError, match="belongs to") as error:
        private_folder(tmp_path / "state", uid=NOBODY)
    assert error.value.hint.startswith("run vcd as ")


def test_attack_a_folder_that_can_be_exchanged_from_above(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(PathError, match="anybody could replace"):
        private_folder(shared / "vcd/state")
    shared.chmod(0o1777)  # sticky: only who owns something may move it
    private_folder(shared / "vcd/state")


def test_attack_a_link_to_a_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "state").symlink_to("open")
    with pytest.raises(PathError, match="others can write"):
        private_folder(tmp_path / "state")


def test_a_link_to_a_private_folder_is_how_dynamic_users_have_it(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("private")
    private_folder(tmp_path / "state")


@pytest.mark.parametrize("what", ["file", "loop", "below a file"])
def test_what_is_no_folder(tmp_path: Path, what: str) -> None:
    path = tmp_path / "state"
    if what == "loop":
        path.symlink_to(path)
    else:
        path.write_text("")
    with pytest.raises(PathError):
        private_folder(path / "more" if what == "below a file" else path)
