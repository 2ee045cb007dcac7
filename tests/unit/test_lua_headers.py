"""Every Lua header is true: what it documents is what the body uses, both ways."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.scripts import folder

SCRIPTS = sorted(folder().glob("*.lua"), key=lambda path: path.name)
PURPOSE = 40
"""Characters below which a purpose says nothing."""

READS = {
    *(
        "EXISTS",
        "GET",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HLEN",
        "HMGET",
        "PEXPIRETIME",
        "PTTL",
        "SISMEMBER",
    ),
    *("INFO", "TIME", "XINFO", "XLEN", "XPENDING", "XRANGE", "ZCARD", "ZCOUNT", "ZRANGE"),
    *("SMEMBERS", "ZRANK", "ZSCORE"),
}
WRITES = {
    *("DEL", "HDEL", "HINCRBY", "HSET", "HSETNX", "PEXPIRE", "SADD", "SET", "SPUBLISH", "SREM"),
    *(
        "XACK",
        "XADD",
        "XDEL",
        "XGROUP",
        "XTRIM",
        "ZADD",
        "ZREM",
        "ZREMRANGEBYRANK",
        "ZREMRANGEBYSCORE",
    ),
}
CANNOT_FAIL = {"EXISTS", "TIME"}
WITHOUT_A_KEY = {"INFO", "TIME"}
KEY_COMES_THIRD = {"XGROUP", "XINFO"}
NAMES_OF_KEYS = {"key", "hold.key", "shopper_key", "hold.shopper_key", "answer[1]"}
"""Variables that hold a declared key, where the key depends on the request."""

every_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def header_of(path: Path) -> list[str]:
    """The comment at the top, after the line that names the engine."""
    lines = path.read_text().splitlines()[1:]
    end = next(at for at, line in enumerate(lines) if not line.startswith("--"))
    return lines[:end]


def body_of(path: Path) -> str:
    """The code, without its comments."""
    lines = path.read_text().splitlines()[1 + len(header_of(path)) :]
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


def index(text: str) -> str:
    """One way to write an index: ``6 + 2 * hold.at`` is ``6+2i``."""
    text = text.replace(" ", "")
    text = re.sub(r"\*[a-z][\w.]*", "i", text)
    return re.sub(r"\+[a-z][\w.]*$", "+i", text)


def calls(body: str) -> Iterator[tuple[int, list[str]]]:
    """Where Redis is called, and with what."""
    for start in re.finditer(r"redis\.p?call\(", body):
        depth, end, arguments, begun = 1, start.end(), [], start.end()
        while depth:
            sign = body[end]
            depth += (sign in "([{") - (sign in ")]}")
            if depth == 0 or (depth == 1 and sign == ","):
                arguments.append(body[begun:end].strip())
                begun = end + 1
            end += 1
        yield start.start(), arguments


def command(arguments: list[str]) -> str:
    return arguments[0].strip("'")


def key_of(arguments: list[str]) -> str | None:
    """The key of a call; ``None`` for a command that has none."""
    if command(arguments) in WITHOUT_A_KEY:
        return None
    at = 2 if command(arguments) in KEY_COMES_THIRD else 1
    return arguments[at] if len(arguments) > at else None


def functions(body: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"^local function (\w+).*?^end$", body, re.MULTILINE | re.DOTALL):
        yield found[1], found[0]


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10


@every_script
def test_the_first_line_makes_the_server_check_the_keys(path: Path) -> None:
    assert re.fullmatch(r"#!lua( flags=[a-z,-]+)?", path.read_text().splitlines()[0])


@every_script
def test_a_purpose_comes_first(path: Path) -> None:
    header = "\n".join(header_of(path))
    purpose = header.partition("\n--\n")[0]
    assert len(purpose) > PURPOSE
    assert "KEYS" not in purpose


@every_script
@pytest.mark.parametrize("name", ["KEYS", "ARGV"])
def test_what_is_handed_in_is_documented_and_used(path: Path, name: str) -> None:
    documented = [
        index(found[1])
        for line in header_of(path)
        if (found := re.match(rf"-- {name}\[([^]]+)\]\s+\S", line))
    ]
    used = {index(found) for found in re.findall(rf"\b{name}\[([^]]+)\]", body_of(path))}
    assert len(documented) == len(set(documented))
    assert set(documented) == used
    fixed = [number for number in documented if number.isdigit()]
    assert fixed == [str(number + 1) for number in range(len(fixed))]


@every_script
def test_every_reply_is_documented_and_given(path: Path) -> None:
    header = header_of(path)
    begins = [at for at, line in enumerate(header) if re.match(r"-- Repl(y|ies)\b", line)]
    assert len(begins) == 1, "a header says once what is answered"
    documented = {
        found[1] for line in header[begins[0] :] if (found := re.match(r"--   ([A-Z_]+)\b", line))
    }
    assert documented == words_of(body_of(path))


def words_of(body: str) -> set[str]:
    """Words in capitals that are not handed to Redis: what a script can answer."""
    for _, arguments in calls(body):
        for argument in arguments:
            if re.fullmatch(r"'[A-Z_]+'", argument):
                body = re.sub(rf"(redis\.p?call\([^()]*?){argument}", r"\1", body, count=1)
    return set(re.findall(r"'([A-Z][A-Z_]+)'", body))


@every_script
def test_only_known_commands_on_declared_keys(path: Path) -> None:
    for _, arguments in calls(body_of(path)):
        assert command(arguments) in READS | WRITES, arguments
        if command(arguments) in WITHOUT_A_KEY:
            continue
        key = key_of(arguments)
        assert key is not None
        assert re.fullmatch(r"KEYS\[[^]]+\]", key) or key in NAMES_OF_KEYS, arguments


@every_script
def test_nothing_that_may_fail_comes_after_the_first_write(path: Path) -> None:
    """Lua has no rollback. Early ways out, which write and return, are judged by themselves."""
    body = body_of(path)
    early = [found[0] for found in re.finditer(r"^if .*?^end$", body, re.MULTILINE | re.DOTALL)]
    for way_out in (block for block in early if "\n  return" in block):
        check_order(way_out, known=set(), whole=False)
        body = body.replace(way_out, "")
    check_order(body, known=set(), whole=True)


def check_order(body: str, known: set[str], *, whole: bool) -> None:
    first = min((at for at, args in calls(body) if command(args) in WRITES), default=len(body))
    assert "cjson.decode" not in body[first:]
    for at, arguments in calls(body):
        key = key_of(arguments) or ""
        if at < first or not whole:
            known.add(key)
        elif command(arguments) in READS - CANNOT_FAIL:
            assert key in known or key == "KEYS[1]", f"{arguments} is read after the first write"
        if at >= first:
            known.add(key)


def test_functions_of_one_name_are_one_function() -> None:
    texts: dict[str, set[str]] = defaultdict(set)
    for path in SCRIPTS:
        for name, text in functions(body_of(path)):
            texts[name].add(text)
    assert {name for name, variants in texts.items() if len(variants) > 1} == set()


HERE = """\
local info = redis.call('INFO', 'server', 'replication')
local _, run = string.find(info, 'run_id:', 1, true)
local _, turn = string.find(info, 'second_repl_offset:', run, true)
local here = string.sub(info, run + 1, run + 40) .. string.match(info, '^[-%d]+', turn + 1)
"""


@every_script
def test_a_server_is_known_in_one_way(path: Path) -> None:
    body = body_of(path)
    assert body.count("'INFO'") == body.count(HERE)


NOW = "local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), seen)"
"""Time never goes back within a shop."""
PLAIN_NOW = "local now = time[1] * 1000 + math.floor(time[2] / 1000)"
WITHOUT_A_CLOCK = {
    "admission_arrive",
    "admission_ask",
    "orders_trim",
    "stripe_pause",
    "stripe_turn",
    "viewers_count",
}
"""Scripts that decide nothing about stock or money; the server's own time will do."""


@every_script
def test_time_is_told_in_one_way(path: Path) -> None:
    lines = {line for line in body_of(path).splitlines() if line.startswith("local now =")}
    assert lines <= {PLAIN_NOW if path.stem in WITHOUT_A_CLOCK else NOW}


@every_script
def test_rows_are_added_up_in_one_way(path: Path) -> None:
    """A shortfall in one place hides no units in another; only movements report it as it is."""
    sums = re.findall(r"^.*row\[2\] - row\[3\].*$", body_of(path), re.MULTILINE)
    on_sale = re.compile(r"\s*(\w+ = \w+ \+|return) math\.max\(0, (row\[\d\]( - )?){4}\)")
    as_it_is = [line for line in sums if not on_sale.fullmatch(line)]
    assert len(as_it_is) == (path.stem == "stock_move")


def test_the_checks_notice_what_they_are_for() -> None:
    body = "redis.call('SET', KEYS[6 + 2 * i], 'x')\nreturn {'DONE', redis.call('GET', 'a' .. b)}"
    assert [command(arguments) for _, arguments in calls(body)] == ["SET", "GET"]
    assert [key_of(arguments) for _, arguments in calls(body)] == ["KEYS[6 + 2 * i]", "'a' .. b"]
    assert (index("6 + 2 * i"), index("4 + 3 * hold.at"), index("4 + i")) == ("6+2i", "4+3i", "4+i")
    assert words_of(body) == {"DONE"}
    with pytest.raises(AssertionError):
        check_order(body, known=set(), whole=True)
