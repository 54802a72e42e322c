from agent.wire.access import Identity
from fleet.brokers.identities import IdentityTable
from tests.fleet.brokers.targets import credential


def table(**logins) -> IdentityTable:
    made = IdentityTable("server-secret")
    made.update(logins)
    return made


def test_each_kind_logs_in_with_its_own_secret():
    made = table(d1=credential("device", "one"), **{"enroll-t1": credential("enroll", "two")})
    assert made.verify("d1", "one") == Identity("d1", "device")
    assert made.verify("enroll-t1", "two") == Identity("enroll-t1", "enroll")
    assert made.verify("server-inbox", "server-secret") == Identity("server-inbox", "server")
    assert len(made) == 3


def test_a_wrong_secret_an_unknown_name_and_an_ended_login_do_not_get_in():
    made = table(d1=credential("device", "one"), d2=credential("device", "two", active=False))
    assert made.verify("d1", "two") is None
    assert made.verify("d1", "") is None
    assert made.verify("d3", "one") is None
    assert made.verify("", "") is None
    assert made.verify("d2", "two") is None
    assert made.verify("server-inbox", "one") is None


def test_names_that_would_reach_into_topics_of_others_are_not_taken():
    made = table()
    for name in ("+", "#", "a/b", "", "$SYS", "d1\0", "d" * 65, "server-inbox"):
        assert made.update({name: credential("device", "one")}) == []
        assert made.verify(name, "one") is None
    made.update({"enroll-t1": credential("device", "one"), "d1": credential("enroll", "one")})
    assert made.verify("enroll-t1", "one") is None
    assert made.verify("d1", "one") is None
    assert made.verify("server-inbox", "server-secret") is not None


def test_a_change_tells_whose_earlier_login_is_over():
    one, two = credential("device", "one"), credential("device", "two")
    made = table(d1=one, d2=two)
    assert made.update({"d1": one}) == []
    assert made.update({"d3": credential("device", "three")}) == []
    assert made.update({"d1": credential("device", "other")}) == ["d1"]
    assert made.update({"d2": credential("device", "two", active=False)}) == ["d2"]
    # It was over already, and letting it in again ends nothing.
    assert made.update({"d2": two}) == []


def test_replacing_all_also_ends_those_that_are_missing():
    one, two = credential("device", "one"), credential("device", "two")
    made = table(d1=one, d2=two)
    assert made.replace({"d2": two}) == ["d1"]
    assert made.verify("d1", "one") is None
    assert made.verify("d2", "two") is not None
    assert len(made) == 2
