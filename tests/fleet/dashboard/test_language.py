"""Each person reads the pages in their own language: asked by the browser, chosen by a button, kept by a cookie."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone, translation

from fleet.accounts.services import create_api_token
from fleet.alerts.models import Rule
from fleet.alerts.services import create_silence
from fleet.dashboard.forms.rollouts import SizeField

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}


@pytest.mark.parametrize("page", ["/login", "/nowhere"])
def test_a_browsers_language_counts_at_first(db, page):
    assert '<html lang="zh-hans">' in Client().get(page, headers=CHINESE).text
    assert '<html lang="en">' in Client().get(page, headers={"Accept-Language": "de"}).text


def test_a_button_without_a_script_switches_and_comes_back(operating):
    page = operating.get("/devices?q=online").text
    assert '<button type="submit" form="language" name="language" value="zh-hans" lang="zh-hans"' in " ".join(
        page.split()
    )
    assert 'name="next" value="/devices?q=online"' in page
    answer = operating.post("/language", {"language": "zh-hans", "next": "/devices?q=online"})
    assert answer.url == "/devices?q=online"
    page = operating.get(answer.url).text
    assert '<html lang="zh-hans">' in page
    assert ">English</button>" in page
    operating.post("/language", {"language": "en", "next": "/"})
    assert '<html lang="en">' in operating.get("/", headers=CHINESE).text  # what was chosen counts more


def test_a_stranger_switches_on_the_login_page_and_only_with_its_form(db):
    client = Client(enforce_csrf_checks=True)
    assert client.post("/language", {"language": "zh-hans"}).status_code == 403
    client.get("/login")
    token = client.cookies["csrftoken"].value
    answer = client.post("/language", {"language": "zh-hans", "next": "/login", "csrfmiddlewaretoken": token})
    assert answer.status_code == 302
    assert '<html lang="zh-hans">' in client.get("/login").text


def test_the_switch_leads_nowhere_else(operating):
    answer = operating.post("/language", {"language": "zh-hans", "next": "https://elsewhere.example/"})
    assert answer.url == "/"


def test_nobody_else_may_keep_a_page_for_another_language(operating):
    answer = operating.get("/devices")
    assert {"Accept-Language", "Cookie"} <= {name.strip() for name in answer.headers["Vary"].split(",")}
    assert answer.headers["Content-Language"] == "en"


def test_one_english_word_of_two_meanings_has_two_translations(operating):
    create_api_token(User.objects.get(username="operator-person"), "nightly")
    page = operating.get("/account", headers=CHINESE).text
    used, ends = re.findall(r'<span class="faint">([^<]+)</span>', page)
    assert (used, ends) == ("从未", "永不")


def test_what_a_message_is_about_is_translated_too(operating):
    silence = create_silence(None, "", timezone.now() + timedelta(hours=1), "Night work.", None)
    answer = operating.post(f"/alerts/silences/{silence.pk}/end", headers=CHINESE, follow=True)
    assert "全部 的告警已恢复通知。" in answer.text


def test_a_rule_that_is_there_from_the_start_is_translated_until_somebody_renames_it(operating):
    Rule.objects.get_or_create(name="Too hot", condition="temperature", threshold=80)
    rules = "/alerts/rules"
    assert "温度过高" in operating.get(rules, headers=CHINESE).text
    Rule.objects.filter(name="Too hot").update(name="Too hot for Berlin")
    page = operating.get(rules, headers=CHINESE).text
    assert "Too hot for Berlin" in page
    assert "温度过高" not in page


def test_a_word_that_is_typed_is_the_same_in_every_language():
    with translation.override("zh-hans"):
        assert SizeField().clean("all") == (100.0, None)
        with pytest.raises(ValidationError, match="“all”"):
            SizeField().clean("全部")
