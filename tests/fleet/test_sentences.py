"""What the domain said in English is read in another language: by its form, its values looked up likewise."""

import time

import pytest
from django.template import Context, Template
from django.utils import translation

from fleet import sentences
from fleet.sentences import Sentences
from fleet.units import NBSP

CHINESE = Sentences(
    {
        "offline": "离线",
        "a network": "网络",
        ", as far as is known": "（据目前所知）",
        "{0} was retired": "{0} 已退役",
        "Group {0} was made": "已建立分组 {0}",
        "{0} and {1}": "{0}和{1}",
        "{0}, {1}": "{0}、{1}",
        "{0} more memory": "再有 {0} 内存",
        "With {0}, {1} would fit{2}.": "有了{0}，{1}就装得下{2}。",
        "It needs {0} cores; there are {1}.": "需要 {0} 个核，现有 {1} 个。",
        "{0} of {1} joined {2}": "{2} 加入了 {1} 中的 {0} 台",
        "{0:n} device": "{0:n} 台设备",
        "{0:n} devices": "{0:n} 台设备",
        "{0:n} h": "{0:n} 小时",
        "{0:n} cut": "剪枝 {0:n}",
        "{0} ago": "{0}前",
        "{0} ended": "{0} 已结束",
        "{0} ended early": "{0} 提前结束",
        "Moving {0} to {1}": "把 {0} 移到{1}",
        "Token “{0}” was made": "已创建令牌“{0}”",
        "{0} cannot: {1}.": "{0} 不能：{1}。",
        "It is no robot.": "它不是机器人。",
    }
)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("offline", "离线"),
        ("Offline", "离线"),
        ("cam-1 was retired", "cam-1 已退役"),
        ("2 of 5 joined lab", "lab 加入了 5 中的 2 台"),
        ("1,234 devices", "1,234 台设备"),
        ("3 h ago", "3 小时前"),
        ("50 % cut", "剪枝 50 %"),  # hardly words of its own, but what it joins is no phrase
        ("50 % cut, offline", "剪枝 50 %、离线"),
        (f"3{NBSP}h", "3 小时"),
        ("With 2 GiB more memory and a network, full would fit.", "有了再有 2 GiB 内存和网络，full就装得下。"),
        ("With a network, full would fit, as far as is known.", "有了网络，full就装得下（据目前所知）。"),
        ("r-1 ended early", "r-1 提前结束"),  # the form that has more of it
        ("Moving cam-1 to lab ended", "把 cam-1 移到lab 已结束"),  # and not to a place named "lab ended"
        ("cam-1 was retired, offline", "cam-1 已退役、离线"),
        ("Token “5 devices” was made", "已创建令牌“5 devices”"),  # what is quoted is a name
        (
            "It needs 4 cores; there are 2. With a network, full would fit.",
            "需要 4 个核，现有 2 个。有了网络，full就装得下。",
        ),
        ("offline\ncam-1 was retired", "离线\ncam-1 已退役"),
    ],
)
def test_a_sentence_is_read_by_its_form(said, read):
    assert CHINESE.say(said) == read


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("cam-1 cannot: it needs 4 cores; there are 2.", "cam-1 不能：需要 4 个核，现有 2 个。"),
        (
            "cam-1 cannot: it needs 4 cores; there are 2. With a network, full would fit.",
            "cam-1 不能：需要 4 个核，现有 2 个。有了网络，full就装得下。",
        ),
        ("cam-1 cannot: it is no robot.", "cam-1 不能：它不是机器人。"),
        ("cam-1 cannot: Cam-2 was retired.", "cam-1 不能：Cam-2 已退役。"),
    ],
)
def test_a_sentence_may_be_a_clause_of_another_one(said, read):
    assert CHINESE.say(said) == read


def test_a_number_is_read_as_one_whichever_form_comes_first():
    known = Sentences({"embedded": "嵌入式", "{0} devices": "{0}设备", "{0:n} devices": "{0:n} 台设备"})
    assert known.say("3 devices") == "3 台设备"
    assert known.say("embedded devices") == "嵌入式设备"


def test_of_two_ways_the_one_of_fewer_pieces_is_taken():
    known = Sentences(
        {
            "All of {0}": "{0} 的全部",
            "{0} run it": "{0} 在运行它",
            "All of {0} run it": "{0} 的全部都在运行它",
        }
    )
    assert known.say("All of lab run it") == "lab 的全部都在运行它"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "7",
        "已经是中文",
        "my own note about the pump, and the arm",  # no part of it is known: a list of them is none of ours
        "spare devices",  # a name, and no number
        "cam-1 was",
    ],
)
def test_what_is_of_no_form_stays_as_it_is(said):
    assert CHINESE.say(said) == said


@pytest.mark.parametrize(
    "hostile",
    [
        "a" * 10_000,
        "a, " * 650,
        "x and " * 330,
        " was retired" * 160,
        "With , would fit" * 120,
        "{0} was retired" * 130,
    ],
)
def test_hostile_text_costs_no_time(hostile):
    began = time.thread_time()
    CHINESE.say(hostile)
    assert time.thread_time() - began < 0.2


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setattr(sentences, "_sentences", lambda language: CHINESE)
    sentences._said.cache_clear()
    with translation.override("zh-hans"):
        yield
    sentences._said.cache_clear()


def test_a_name_that_is_markup_stays_text(chinese):
    page = Template("{% load edgefleet %}{{ event|said }}").render(Context({"event": "<b>x</b> was retired"}))
    assert page == "&lt;b&gt;x&lt;/b&gt; 已退役"


def test_english_is_what_was_said(chinese):
    with translation.override("en"):
        assert sentences.said("offline") == "offline"


NARROW = "It sends and gets 20~MB/s (160~Mbit/s); 10~MB/s (80~Mbit/s) "


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("3 devices", "3 台设备"),
        ("embedded devices", "嵌入式设备"),
        (f"{NARROW}are allowed.", "收发速率为 20~MB/s (160~Mbit/s)；允许 10~MB/s (80~Mbit/s)。"),
        (f"{NARROW}is what the link carries.", "收发速率为 20~MB/s (160~Mbit/s)；链路只能承载 10~MB/s (80~Mbit/s)。"),
        ("A decision takes at most 3~ms of the 5~ms allowed.", "一次决策最多需要 3~ms，允许 5~ms。"),
        ("What it recovers at cannot lie below 80 °C.", "恢复值不能低于 80 °C。"),
        ("lab cannot be renamed: the query of hall names it.", "不能重命名 lab：hall 的查询引用了它。"),
        ("cam-1: sensors added, imu", "cam-1：新增传感器：imu"),
        ("preprocessing 5 ms at most, a decision 40 ms at most", "预处理最多 5 ms，每次决策最多 40 ms"),
        ("computing 5 ms at most, computing as by default", "计算最多 5 ms，计算使用默认值"),
        ("Not known: computing (device).", "未知：算力（设备）。"),
        ("It needs 2 more signature(s) by a key of the new root: 1a2b.", "还缺 2 个由新根密钥作出的签名：1a2b。"),
        ("Every device in lab already runs it.", "lab 中的所有设备都已在运行该变体。"),
        (
            "No device in lab can take it: 3 already run it; it is pinned: kept; the release has no variant for "
            "mobile devices.",
            "lab 中没有设备能更新：3 台已在运行该变体；已固定：kept；该发行版没有适用于移动设备的变体。",
        ),
    ],
)
def test_what_the_domain_says_reads_well_in_chinese(said, read):
    with translation.override("zh-hans"):
        assert sentences.said(said.replace("~", NBSP)) == read.replace("~", NBSP)


def test_a_hundred_rows_cost_less_than_five_milliseconds():
    """With as many forms as the real catalogue has."""
    forms = {f"{{0}} {word} {other} {{1}}": "{0}{1}" for word in WORDS for other in WORDS}
    known = Sentences({**forms, "{0} was retired by {1}": "{1} 使 {0} 退役"})
    rows = [f"camera-{number:04d} was retired by operator-{number}" for number in range(100)]
    began = time.thread_time()
    read = [known.say(row) for row in rows]
    assert time.thread_time() - began < 0.005 * 4  # a busy machine
    assert read[7] == "operator-7 使 camera-0007 退役"


WORDS = [
    f"{a}{b}" for a in ("is", "goes", "stays", "runs", "ends", "was") for b in ("", "ing", "ed", "er", "ly", "ness")
]
