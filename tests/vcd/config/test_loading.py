"""Precedence, origins, and what a person who made a mistake is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from vcd.config import KEYS, Config, ConfigError, From, changes, load, merged
from vcd.config.loading import MOST_BYTES, MOST_PROBLEMS


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["version = 1", *lines]), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vcd.toml"


def refused(*files: Path, environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(files, environ=environ or {}, flags=flags)
    assert str(error.value).splitlines() == [str(problem) for problem in error.value.problems]
    return [str(problem) for problem in error.value.problems]


# ---------------------------------------------------------------- precedence


def test_nothing_is_the_default() -> None:
    loaded = load(environ={})
    assert loaded.config == Config()
    assert loaded.files == ()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert set(loaded.origins) == set(KEYS)


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    system = write(tmp_path / "system.toml", "profile = 'private'", "[node]", "packages = 10", "max_kept = 10")
    user = write(tmp_path / "user.toml", "[node]", "packages = 11", "max_outbox = 30")
    environ = {"VCD_NODE_PACKAGES": "12", "VCD_LOGS_LEVEL": "debug", "HOME": "/", "VCD_REQUIRE": "x"}
    flags = {"node.packages": "13"}

    def packages(files: list[Path], *, env: bool = False, flag: bool = False) -> tuple[int, From]:
        loaded = load(files, environ=environ if env else {}, flags=flags if flag else None)
        return loaded.config.node.packages, loaded.origins["node.packages"].source

    nothing = tmp_path / "nothing.toml"
    assert packages([system, nothing]) == (10, From.SYSTEM)
    assert packages([system, user]) == (11, From.USER)
    assert packages([system, user], env=True) == (12, From.ENVIRONMENT)
    assert packages([system, user], env=True, flag=True) == (13, From.FLAG)

    loaded = load([system, user], environ=environ, flags=flags)
    assert loaded.files == (system, user)
    shown = {name: (value, str(origin)) for name, value, origin in loaded.rows()}
    assert shown["node.max_kept"] == ("10", f"{system}, line 5")  # the file goes before its profile
    assert shown["node.package_public"] == ("0", "profile private")
    assert shown["profile"] == ('"private"', f"{system}, line 2")
    assert shown["node.max_outbox"] == ("30", f"{user}, line 4")
    assert shown["logs.level"] == ('"debug"', "environment VCD_LOGS_LEVEL")
    assert shown["node.packages"] == ("13", "flag node.packages")
    assert shown["store.events_size"] == ('"256 MiB"', "default")


def test_the_strongest_word_on_the_profile_decides(file: Path) -> None:
    write(file, "profile = 'private'")
    loaded = load([file], environ={"VCD_PROFILE": "always-on"})
    assert loaded.config.relay.serve
    assert loaded.config.store.history_keep is None
    assert load([file], environ={}, flags={"profile": "standard"}).config == Config()


def test_everything_can_be_set_from_everywhere(tmp_path: Path) -> None:
    """Each key by its line, by its variable and by its flag, with one and the same result."""
    for name, known in KEYS.items():
        value = known.kind.show(Config().value(name))
        section, _, last = name.rpartition(".")
        written = write(tmp_path / "one.toml", *([f"[{section}]"] if section else []), f"{last} = {value}")
        text = value.strip('"')
        loaded = [
            load([written], environ={}),
            load(environ={"VCD_" + name.replace(".", "_").upper(): text}),
            load(environ={}, flags={name: text}),
        ]
        assert [one.config for one in loaded] == [Config()] * 3
        assert [one.origins[name].source for one in loaded] == [From.USER, From.ENVIRONMENT, From.FLAG], name


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["[netwrok]", "x = 1"], "line 2: netwrok is not a key that vcd knows; did you mean network?"),
        (
            ["[network]", "", "lisen = []"],
            "line 4: network.lisen is not a key that vcd knows; did you mean network.listen?",
        ),
        (
            ["[network]", "level = 'info'"],
            "line 3: network.level is not a key that vcd knows; did you mean logs.level?",
        ),
        (["listen = []"], "line 2: listen is not a key that vcd knows; did you mean network.listen?"),
        (
            ["[logs]", "verbosity = 1"],
            "line 3: logs.verbosity is not a key that vcd knows; vcd config show lists all there are",
        ),
        (["logs = 'debug'"], "line 2: logs is a section: write [logs] on a line of its own, and its keys below"),
        (
            ["[logs]", "level = 'verbose'"],
            'line 3: logs.level must be one of "debug", "info", "warning", "error", not "verbose"',
        ),
        (
            ["[node]", "quiet = 'a while'"],
            'line 3: node.quiet must be a time such as "30 d", "5 min" or a whole number of seconds, not "a while"',
        ),
        (["[node]", "quiet = 0"], "line 3: node.quiet must be from 100 ms to 1 h, not 0"),
        (
            ["[node]", "packages = 5", "package_public = 9"],
            "line 4: node.package_public must not be more than node.packages",
        ),
        (["[node]", "retry = '2 h'"], "default: node.retry_most must not be shorter than node.retry"),
        (
            ["[network]", "listen = []", "be_point = true"],
            "line 4: network.be_point needs an address in network.listen",
        ),
        (["network = { listen = [], be_point = true }"], "line 2: network.be_point needs an address in network.listen"),
        (
            ["[rpc]", "app_socket = '/x'", "admin_socket = '/x'"],
            "line 4: rpc.admin_socket must be another path than rpc.app_socket",
        ),
        (
            ["[metrics]", "textfile = '/x'"],
            "line 3: metrics.textfile must end in .prom, or node_exporter does not read it",
        ),
        (
            ["[mailbox]", f"tenants = ['{'a' * 64}', {{ key = '{'a' * 64}', size = 1 }}]"],
            "line 3: mailbox.tenants has one key twice",
        ),
        (
            ["[network]", "peers = ['/ip4/192.0.2.1/tcp/4001']"],
            (
                "line 3: network.peers entry 1 must end with /p2p/ and the id of a peer; it looks like "
                '"/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW..."'
            ),
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_do(file: Path, lines: list[str], told: str) -> None:
    [problem] = refused(write(file, *lines))
    assert problem == (told if told.startswith("default") else f"{file}, {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", 'must say "version = 1", above the first section'),
        ("[network]\nversion = 1", 'must say "version = 1"'),
        ("version = 2", "line 1: version is 2: this file is for a newer vcd, which this one cannot read"),
        ("version = 0", "version must be 1, not 0"),
        ("version = '1'", 'version must be 1, not "1"'),
        ("version = true", "version must be 1, not true"),
        ("version = 1\n[network", "is not TOML: Expected ']' at the end of a table declaration"),
        ("version = 1\nversion = 1", "is not TOML: Cannot overwrite a value"),
        ("version = " + "9" * 5000, "is not TOML: a number is too long"),
        ("version = " + "[" * 100_000, "is not TOML"),
        ("#" * (MOST_BYTES + 1), "is larger than 1 MiB"),
        ("\0", "is not TOML"),
    ],
    ids=range(12),
)
def test_files_that_are_none(file: Path, text: str, told: str) -> None:
    file.write_text(text, encoding="utf-8")
    problems = refused(file)
    assert any(told in problem for problem in problems), problems
    assert all(problem.startswith(str(file)) for problem in problems)


def test_a_file_that_is_not_utf_8(file: Path) -> None:
    file.write_bytes(b"version = 1 # \xff")
    assert refused(file) == [f"{file}: is not UTF-8 text: byte 14"]


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    file.write_text("version = 1", encoding="utf-8-sig")
    assert load([file], environ={}).files == (file,)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    system = write(tmp_path / "system.toml", "[logs]", "level = 1")
    user = write(tmp_path / "user.toml", "[logs]", "lvl = 'info'", "[node]", "packages = 'x'")
    told = refused(system, user, environ={"VCD_NODE_QUIET": "x"}, flags={"rpc.nothing": "1"})
    assert [line.rpartition(": ")[0] for line in told] == [
        f"{system}, line 3",
        f"{user}, line 3",
        f"{user}, line 5",
        "environment VCD_NODE_QUIET",
        "flag rpc.nothing",
    ]


def test_a_thousand_mistakes_are_some(file: Path) -> None:
    write(file, *[f"k{number} = 1" for number in range(1000)])
    with pytest.raises(ConfigError) as error:
        load([file], environ={})
    assert len(error.value.problems) == MOST_PROBLEMS
    assert str(error.value).endswith("and 950 more")


def test_a_misspelled_variable_of_a_section_is_told() -> None:
    assert refused(environ={"VCD_NETWORK_LISEN": ""}) == [
        "environment VCD_NETWORK_LISEN: network.lisen is not a key that vcd knows; did you mean network.listen?"
    ]


@pytest.mark.parametrize(
    ("variable", "wrong", "meant"),
    [
        ("VCD_VALT_UNLOCKER", "valt.unlocker", "vault.unlocker"),
        ("VCD_NETWROK_LISEN", "netwrok.lisen", "network.listen"),
        ("VCD_LOG_LEVEL", "log.level", "logs.level"),
        ("VCD_NODES_MAX_KEPT", "nodes.max_kept", "node.max_kept"),
        ("VCD_PROFIEL", "profiel", "profile"),
    ],
)
def test_a_misspelled_section_of_a_variable_is_told(variable: str, wrong: str, meant: str) -> None:
    assert refused(environ={variable: "hunter2"}) == [
        f"environment {variable}: {wrong} is not a key that vcd knows; did you mean {meant}?"
    ]


OTHERS = [
    *("VCD_HOME", "VCD_SOCKET", "VCD_REQUIRE", "VCD_LONG", "VCD_KILLS", "VCD_COMPLETE", "VCD_MLS_VECTORS"),
    *("VCD_MESH_SEED", "VCD_MESH_SOAK", "VCD_MESH_FRAMES", "VCDX"),
    *("VCD_USER", "VCD_PASSWORD", "VCD_URL", "VCD_AUTH_TYPE", "VCD_MAX_RETRY_TIMEOUT", "VCD__", "VCD_"),  # of others
]


@pytest.mark.parametrize("variable", OTHERS)
def test_other_variables_are_not_settings(variable: str) -> None:
    assert load(environ={variable: "x"}).config == Config()


def test_a_file_that_somebody_asked_for_must_be_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load([file], environ={}, must_exist=True)
    assert load([file.with_name("system"), write(file)], environ={}, must_exist=True).files == (file,)


# ---------------------------------------------------------------- attacks


def test_attack_a_file_that_everybody_can_write(file: Path) -> None:
    write(file).chmod(0o666)
    assert refused(file) == [f"{file}: can be written by everybody on this machine: chmod o-w {file}"]


def test_attack_a_pipe_in_place_of_the_file(file: Path) -> None:
    """Opening a named pipe would wait for ever for somebody to write."""
    os.mkfifo(file)
    assert refused(file) == [f"{file}: is not a file"]


def test_attack_a_folder_or_a_loop_in_place_of_the_file(tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path)[0]
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert len(refused(loop)) == 1


@pytest.mark.parametrize("line", ["unlocker = 'hunter2'", "credential = 'hunter2!'", "passphrase = 'hunter2'"])
def test_attack_a_passphrase_in_the_wrong_place_is_not_repeated(file: Path, line: str) -> None:
    told = refused(write(file, "[vault]", line))
    assert "hunter2" not in "".join(told)
    assert "line 3" in told[0]


def test_attack_escapes_for_the_terminal_are_not_repeated(file: Path) -> None:
    write(file, '"\\u001b[2J" = 1', "[logs]", '"\\u001b[2J" = 1', 'level = "\\u001b[2J"', 'form = "\\u202e"')
    told = refused(file, environ={"VCD_NODE_QUIET": "\x1b[2J\n"})
    assert len(told) == 5
    assert all(line.isprintable() and line.isascii() for line in told)


@given(st.text(max_size=200))
def test_no_file_raises_anything_else(text: str) -> None:
    from vcd.config.loading import Origin, _Reading

    reading = _Reading()
    reading.toml("version = 1\n" + text, Origin(source=From.USER, where="x"))
    assert all(str(problem).isprintable() for problem in reading.problems)


# ---------------------------------------------------------------- reload


def test_what_a_reload_changes(file: Path) -> None:
    before = load([write(file)], environ={}).config
    write(file, "[logs]", "level = 'debug'", "[network]", "listen = []", "[node]", "quiet = 9")
    after = load([file], environ={}).config
    found = changes(before, after)
    assert found.live == ("node.quiet", "logs.level")
    assert found.restart == ("network.listen",)
    assert found.words() == "in effect now: node.quiet, logs.level; in effect after a restart: network.listen"
    runs = merged(before, after)
    assert (runs.logs.level, runs.node.quiet, runs.network.listen) == ("debug", 9000, before.network.listen)
    assert changes(runs, after).live == ()


def test_a_reload_that_changes_nothing() -> None:
    assert not changes(Config(), Config())
    assert changes(Config(), Config()).words() == "nothing has changed"
    assert merged(Config(), Config()) == Config()


def test_another_profile_is_what_it_changes() -> None:
    private = load(environ={"VCD_PROFILE": "private"}).config
    found = changes(Config(), private)
    assert "profile" not in found.live + found.restart
    assert "network.allow" in found.live
    assert "network.listen" in found.restart


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().node.packages = 1  # type: ignore[misc]  # that it cannot is what is shown
    hash(Config())
