"""The locks of kinds debian and maven: each line that is wrong is named with its number."""

from pathlib import Path

import pytest

from ailab.runtime.native.providers.errors import BadSpec
from ailab.runtime.native.providers.lockfiles import Jar, Package, jars, packages

SUM = "ab" * 32
DEBIAN = [
    ("hello 2.10-3 amd64\n", "{lock}:1: 'hello 2.10-3 amd64' is not `name version arch sha256`"),
    (f"# ok\n\nhello 2.10-3 amd64 {SUM} x\n", f"{{lock}}:3: 'hello 2.10-3 amd64 {SUM} x' is not `name version arch sha256`"),
    ("hello 2.10-3 amd64 abc\n", "{lock}:1: 'abc' is no sha256 (64 hex digits)"),
    (f"hello 2.10-3 amd64 {SUM.upper()}\n", f"{{lock}}:1: '{SUM.upper()}' is no sha256 (64 hex digits)"),
    (f"-oDir=x 1 all {SUM}\n", f"{{lock}}:1: '-oDir=x 1 all {SUM}' names no package of Debian"),
    (f"hello 1;rm all {SUM}\n", f"{{lock}}:1: 'hello 1;rm all {SUM}' names no package of Debian"),
    (f"hello 1 all {SUM}\nhello 2 all {SUM}\n", "{lock}: hello:all stands in it twice"),
    ("# nothing yet\n", "{lock}: nothing stands in it"),
    ("a\nb\n", "{lock}:1: 'a' is not `name version arch sha256`\n{lock}:2: 'b' is not `name version arch sha256`"),
]  # fmt: skip
MAVEN = [
    (f"a:b:1 {SUM}\n", f"{{lock}}:1: 'a:b:1 {SUM}' is not `group:artifact:version[:classifier]:jar sha256`"),
    (f"a:b:1:pom {SUM}\n", f"{{lock}}:1: 'a:b:1:pom {SUM}' is not `group:artifact:version[:classifier]:jar sha256`"),
    (f"a:../b:1:jar {SUM}\n", f"{{lock}}:1: 'a:../b:1:jar {SUM}' is not `group:artifact:version[:classifier]:jar sha256`"),
    ("a:b:1:jar\n", "{lock}:1: '' is no sha256 (64 hex digits)"),
    (f"a:b:1:jar {SUM[1:]}\n", f"{{lock}}:1: '{SUM[1:]}' is no sha256 (64 hex digits)"),
    (f"a:b:1:jar {SUM}\nc:b:1:jar {SUM}\n", "{lock}: b-1.jar stands in it twice"),
    ("", "{lock}: nothing stands in it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), DEBIAN)
def test_debian_locks_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    lock = tmp_path / "debian.lock"
    lock.write_text(text)
    with pytest.raises(BadSpec) as caught:
        packages(lock)
    assert str(caught.value) == message.format(lock=lock)


@pytest.mark.parametrize(("text", "message"), MAVEN)
def test_maven_locks_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    lock = tmp_path / "maven.lock"
    lock.write_text(text)
    with pytest.raises(BadSpec) as caught:
        jars(lock)
    assert str(caught.value) == message.format(lock=lock)


def test_what_is_right(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(f"# comment\nhello 1:2.10-3+b1~x amd64 {SUM}  # why\nhello 1:2.10-3+b1~x arm64 {SUM}\n")
    assert packages(lock) == [Package("hello", "1:2.10-3+b1~x", arch, SUM) for arch in ("amd64", "arm64")]
    lock.write_text(f"org.neo4j:neo4j:5.26.30:jar {SUM}\nio.netty:netty:4.1.Final:linux-x86_64:jar {SUM}\n")
    neo4j, netty = jars(lock)
    assert neo4j == Jar("org.neo4j", "neo4j", "5.26.30", "", SUM)
    assert neo4j.path == "org/neo4j/neo4j/5.26.30/neo4j-5.26.30.jar"
    assert netty.path == "io/netty/netty/4.1.Final/netty-4.1.Final-linux-x86_64.jar"


def test_a_lock_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSpec, match=r"a\.lock: can't be read \('utf-8' codec"):
        jars(tmp_path / "a.lock")
