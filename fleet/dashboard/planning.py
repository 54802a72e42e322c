"""The planner's form as its address has it: what is filled in, what was typed over it, and the answer. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isinf
from urllib.parse import urlencode

from django.utils.translation import gettext

from agent.wire.hardware import DeviceClass
from fleet.dashboard import listing
from fleet.planner import words
from fleet.planner.examples import EXAMPLES, Example
from fleet.planner.fields import FIELDS, GROUPS, Field, parse, show
from fleet.planner.filling import Filled, Known, fill
from fleet.planner.formulas import change
from fleet.planner.modes import Mode, Placement, Plan
from fleet.planner.plan import plan
from fleet.sentences import said
from fleet.units import digits, rate_words

#: The part of an address that says what is planned for; the rest are numbers that were typed.
SUBJECT = ("version", "device", "class")
#: Before a field's name: what the form filled it with, which goes along when no script takes it out.
FILLED = "filled."
#: Groups that are folded away until one needs them.
FOLDED = ("slim", "weights", "month")


@dataclass(frozen=True, slots=True)
class Line:
    """One field of the form. text stands in it, filled would without a hand; back is the address that puts it back.

    also: a rate in bytes and in bits, because links are sold by the one and files measured by the other.
    """

    field: Field
    text: str
    filled: str
    known: Known | None
    given: bool
    error: str
    back: str
    also: str

    @property
    def described(self) -> str:
        return f"{self.field.name}-hint"


@dataclass(frozen=True, slots=True)
class Group:
    key: str
    title: str
    lines: list[Line]

    @property
    def folded(self) -> bool:
        return self.key in FOLDED

    @property
    def touched(self) -> bool:
        return any(line.given or line.error for line in self.lines)


class Sheet:
    """A whole form with its answer. Raises nothing: what cannot be read stands beside its field."""

    def __init__(self, params: Mapping[str, str], known: Mapping[str, Known], device_class: DeviceClass | None) -> None:
        self._typed = _texts(params)
        self._subject = subject(params)
        self._errors: dict[str, str] = {}
        self.filled = fill(self._read(self._typed), known, device_class)

    def _read(self, typed: Mapping[str, str]) -> dict[str, float]:
        values = {}
        for name, text in typed.items():
            try:
                values[name] = parse(FIELDS[name], text)
            except ValueError as problem:
                self._errors[name] = said(str(problem))
        return values

    @property
    def groups(self) -> list[Group]:
        lines = [self._line(field) for field in FIELDS.values()]
        return [
            Group(key, said(title), [line for line in lines if line.field.group == key])
            for key, title in GROUPS.items()
        ]

    def _line(self, field: Field) -> Line:
        known = self.filled.known.get(field.name)
        filled = show(field, known.value) if known else ""
        given = field.name in self._typed
        back = self._address({field.name: ""}) if given else ""
        error = self._errors.get(field.name, "")
        value = getattr(self.filled.situation, field.name)
        also = rate_words(value) if field.kind == "rate" and value else ""
        return Line(field, self._typed.get(field.name, filled), filled, known, given, error, back, also)

    def _address(self, changes: Mapping[str, str]) -> str:
        return _query({**self._subject, **self._typed, **changes})

    @property
    def typed(self) -> int:
        """How many fields were typed over."""
        return len(self._typed)

    @property
    def clean(self) -> str:
        """The address with everything put back."""
        return self._address(dict.fromkeys(FIELDS, ""))

    @property
    def empty(self) -> bool:
        return not any((*self._subject.values(), *self._typed.values()))

    @cached_property
    def answer(self) -> "Answer":
        return Answer(plan(self.filled.situation), self.filled, self._typed)


@dataclass(frozen=True, slots=True)
class ModeLine:
    """One mode in words: tone and icon say whether it fits."""

    placement: Placement
    what: str
    reasons: list[str]
    remedy: str
    unknown: str
    chosen: bool
    tone: str
    icon: str
    word: str

    @property
    def tone_class(self) -> str:
        return f"t-{self.tone}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of every mode; `strong` where it is a total."""

    name: str
    cells: list[str]
    note: str = ""
    strong: bool = False


class Answer:
    """A plan as a page shows it."""

    def __init__(self, made: Plan, filled: Filled, typed: Collection[str]) -> None:
        self.plan = made
        self.rests = said(words.rests(made.chosen, filled, typed)) if made.certain else ""
        self.chip = {True: gettext("chosen"), None: gettext("likeliest"), False: gettext("nearest")}[made.certain]
        self.headline, self.why = said(words.headline(made)), said(words.why(made))
        self.compared = said(words.compared(made))
        self.month = [said(sentence) for sentence in words.month(made)]
        self.tone, self.icon = _tones(made.certain)

    @property
    def modes(self) -> list[ModeLine]:
        given, chosen = self.plan.situation, self.plan.chosen
        lines = []
        for each in self.plan.modes:
            tone, icon = _tones(each.fits)
            word = {True: gettext("fits"), False: gettext("does not fit"), None: gettext("not known")}[each.fits]
            reasons, remedy = [said(why) for why in words.reasons(given, each)], said(words.would_fit(given, each))
            unknown = "" if each.fits is False else said(words.unknown(each))
            lines.append(
                ModeLine(each, said(words.WHAT[each.mode]), reasons, remedy, unknown, each is chosen, tone, icon, word)
            )
        return lines

    @property
    def rows(self) -> list[Row]:
        """The figures behind the answer, one column for each mode."""
        modes = self.plan.modes
        cloud = self.plan.of(Mode.CLOUD).latency.total
        parts = (
            (gettext("L compute"), "compute"),
            (gettext("L transmit"), "transmit"),
            (gettext("L network"), "network"),
            (gettext("L other"), "other"),
        )
        rows = [Row(name, [_time(getattr(each.latency, part)) for each in modes]) for name, part in parts]
        rows.append(
            Row(
                gettext("L total"),
                [_time(each.latency.total) for each in modes],
                gettext("the sum of the four"),
                strong=True,
            )
        )
        rows.append(Row(gettext("against the cloud"), [_moved(each.latency.total, cloud) for each in modes]))
        rows.append(Row(gettext("longest"), [_time(each.worst_ms) for each in modes], gettext("what the limit is for")))
        rows.append(
            Row("B", [_rate(each.bandwidth) for each in modes], gettext("bandwidth: data over time"), strong=True)
        )
        rows.append(
            Row("M", [_memory(each) for each in modes], gettext("memory of the model on the device"), strong=True)
        )
        for name in dict.fromkeys(each.name for one in modes for each in one.uses):
            label = "TFLOPS" if name == "tflops" else name
            cells = [next((_share(use.share) for use in each.uses if use.name == name), "") for each in modes]
            rows.append(Row(f"U {said(label)}", cells, gettext("used of all there is")))
        rows.append(
            Row(
                gettext("objective"), [_plain(each.objective) for each in modes], gettext("less is better"), strong=True
            )
        )
        return rows


def _tones(fits: bool | None) -> tuple[str, str]:
    return {True: ("ok", "ok"), False: ("bad", "bad"), None: ("pending", "pending")}[fits]


def _time(value: float | None) -> str:
    return gettext("not known") if value is None else gettext("endless") if isinf(value) else words.time(value)


def _moved(value: float | None, cloud: float | None) -> str:
    if not value or not cloud or isinf(value) or isinf(cloud) or value == cloud:
        return ""
    moved = change(value, cloud)
    return f"{'−' if moved < 0 else '+'}{words.percent(abs(moved))}"


def _rate(value: float | None) -> str:
    return (
        gettext("not known")
        if value is None
        else gettext("endless")
        if isinf(value)
        else rate_words(value)
        if value
        else gettext("nothing")
    )


def _memory(placement: Placement) -> str:
    if placement.local is None:
        return gettext("none")
    return gettext("not known") if placement.local.memory is None else words.size(placement.local.memory)


def _share(share: float) -> str:
    return gettext("endless") if isinf(share) else words.percent(share, 0 if share >= 0.1 else 1)


def _plain(value: float | None) -> str:
    return gettext("not known") if value is None else gettext("endless") if isinf(value) else digits(value)


@dataclass(frozen=True, slots=True)
class Offer:
    """A worked case, and the address that fills the form with it."""

    example: Example
    url: str
    here: bool


def examples(params: Mapping[str, str]) -> list[Offer]:
    given = {name: params.get(name, "") for name in (*SUBJECT, *FIELDS) if params.get(name)}
    return [Offer(each, "?" + urlencode(each.values), given == each.values) for each in EXAMPLES]


def subject(params: Mapping[str, str]) -> dict[str, str]:
    return {name: listing.text(params, name) for name in SUBJECT}


def retyped(params: Mapping[str, str]) -> str | None:
    """The address with what was typed alone; None where a script has seen to that.

    A form without scripts sends every field. Only one that is not as it was filled was typed: by now another device may
    be chosen, or another value measured, so that it cannot be told by what would stand there.
    """
    if not any(name.startswith(FILLED) for name in params):
        return None
    typed = {name: text for name, text in _texts(params).items() if text != params.get(FILLED + name)}
    return _query({**subject(params), **typed})


def _texts(params: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name in FIELDS if (text := params.get(name, "")[:64].strip())}


def _query(params: Mapping[str, str]) -> str:
    return "?" + urlencode({name: text for name, text in params.items() if text})
