"""The URL of a Redis: four forms, and one clear line for each that cannot be used."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from redis_place import BadRedisUrl, RedisPlace, parse_redis_url

ONE = (("h", 6379),)
THREE = (("a", 1), ("b", 26379), ("::1", 3))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://h", RedisPlace(hosts=ONE)),
        (" REDIS://h:7/ ", RedisPlace(hosts=(("h", 7),))),
        ("redis://h/3", RedisPlace(hosts=ONE, db=3)),
        ("redis://10.0.0.1:65535", RedisPlace(hosts=(("10.0.0.1", 65535),))),
        ("redis://[::1]", RedisPlace(hosts=(("::1", 6379),))),
        ("redis://[fe80::1%eth0]:7/1", RedisPlace(hosts=(("fe80::1%eth0", 7),), db=1)),
        ("rediss://h", RedisPlace(hosts=ONE, is_tls=True)),
        ("redis://:pw@h", RedisPlace(hosts=ONE, password=SecretStr("pw"))),
        ("redis://u:pw@h", RedisPlace(hosts=ONE, username="u", password=SecretStr("pw"))),
        ("redis://u:p%40w%2F@h", RedisPlace(hosts=ONE, username="u", password=SecretStr("p@w/"))),
        ("redis://:p/w#@:x?@h/2", RedisPlace(hosts=ONE, db=2, password=SecretStr("p/w#@:x?"))),
        ("redis://:50%@h", RedisPlace(hosts=ONE, password=SecretStr("50%"))),
        (
            "redis+sentinel://u:pw@a:1,b,[::1]:3/main/5",
            RedisPlace(hosts=THREE, service="main", username="u", password=SecretStr("pw"), db=5),
        ),
        ("rediss+sentinel://b/a%20b", RedisPlace(hosts=THREE[1:2], service="a b", is_tls=True)),
    ],
)
def test_a_url_becomes_a_place(url: str, place: RedisPlace) -> None:
    """Default ports, percent signs, IPv6, and signs in a password that would end a URL."""
    assert parse_redis_url(url) == place


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "is no URL of a Redis"),
        ("h:6379", "is no URL of a Redis"),
        ("http://h", "is no URL of a Redis"),
        ("redis+tls://h", "is no URL of a Redis"),
        ("redis+sentinel", "is no URL of a Redis"),
        ("unix:///run/redis.sock", "is no URL of a Redis"),
        ("redis://", "names no host"),
        ("redis://:pw@", "names no host"),
        ("redis://:7", "names no host"),
        ("redis://h x", "has signs that no host has"),
        ("redis://u:pw%40h", "has no port after the colon"),
        ("redis://h:", "has no port after the colon"),
        ("redis://h:0", "has no port after the colon"),
        ("redis://h:65536", "has no port after the colon"),
        ("redis://h:-7", "has no port after the colon"),
        ("redis://h:\u0667", "has no port after the colon"),
        ("redis://::1", "has too many colons"),
        ("redis://[::1", "has no closing bracket"),
        ("redis://[::1]7", "has no closing bracket"),
        ("redis://pw@h", "has a login without a password"),
        ("redis://u:@h", "has a login without a password"),
        ("redis://h/x", "has no number of a database at its end"),
        ("redis://h/1/2", "has no number of a database at its end"),
        ("redis://h/016", "has no number of a database at its end"),
        ("redis://h/16", "names a database that a Redis does not have"),
        ("redis://a,b", "names several hosts"),
        ("redis+sentinel://a,b", "names no service"),
        ("redis+sentinel://a,b/", "names no service"),
        ("redis+sentinel://a,,b/main", "names no host"),
        ("rediss://h?ssl_cert_reqs=none", "has options after ? or #"),
        ("rediss://h/0?ssl_cert_reqs=none", "has options after ? or #"),
        ("redis://h/0#1", "has options after ? or #"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, wrong: str) -> None:
    """In one line with a remedy."""
    with pytest.raises(BadRedisUrl) as caught:
        parse_redis_url(url)
    assert caught.value.wrong == wrong
    assert str(caught.value) == f"{wrong} -> {caught.value.remedy}"


@pytest.mark.parametrize("rest", ["h:x", "h x", "", "h/x", "h?x=1", "a,b"])
def test_a_refusal_never_quotes_the_password(rest: str) -> None:
    """It ends up on a screen and in a log."""
    with pytest.raises(BadRedisUrl) as caught:
        parse_redis_url(f"redis://user:hidden-word@{rest}")
    assert "hidden-word" not in str(caught.value)


def test_a_place_shows_no_password() -> None:
    """Neither in `repr` nor in words."""
    place = parse_redis_url("redis+sentinel://u:hidden-word@a:1,[::1]:3/main")
    assert "hidden-word" not in repr(place)
    assert str(place) == "a:1,[::1]:3/main"
