"""Bring the catalogues of the pages' words up to date with the source: `manage.py words`. For developers.

1. What is marked in templates and Python goes into `django.po`, in scripts into `djangojs.po` (makemessages).
2. What the domain says goes into `sentences.po` (fleet.dashboard.gathering).
3. What the server reads is compiled into a `.mo`, what scripts read into `static/js/words/<language>.js`, which only
   pages in that language load. What is not translated yet is shown in English.

It needs GNU gettext (Debian: `apt install gettext`) and polib.
"""

import json
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.utils.translation import to_locale

from fleet.dashboard.gathering import gathered
from fleet.sentences import DOMAIN

#: Nothing of these is shown on pages.
IGNORED = ("agent", "bench", "tests", "var", ".venv", "fleet/demo", "deploy", "docs")
MARKED = {"django": ["html", "py"], "djangojs": ["js"]}


class Command(BaseCommand):
    help = "Bring the catalogues of translations up to date with the source, and compile them."

    def handle(self, *args, **options) -> None:
        locales = {to_locale(code): code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE}
        collect_marked(list(locales))
        for locale, code in locales.items():
            folder = Path(settings.LOCALE_PATHS[0]) / locale / "LC_MESSAGES"
            gather(folder / f"{DOMAIN}.po", settings.BASE_DIR)
            for domain in ("django", DOMAIN):
                compile_for_server(folder / f"{domain}.po")
            compile_for_scripts(folder / "djangojs.po", settings.BASE_DIR / "static/js/words" / f"{code}.js")
            for path in sorted(folder.glob("*.po")):
                self.stdout.write(f"{path.relative_to(settings.BASE_DIR)}: {progress(path)}")


def collect_marked(locales: list[str], *ignored: str) -> None:
    for domain, extensions in MARKED.items():
        call_command(
            "makemessages",
            locale=locales,
            domain=domain,
            extensions=extensions,
            ignore_patterns=[*IGNORED, *ignored],
            add_location="file",
            no_obsolete=True,
            no_wrap=True,
            verbosity=0,
        )


def gather(path: Path, root: Path) -> None:
    """Write the sentences of the source into a catalogue; what was translated stays, what is gone goes."""
    import polib  # of requirements-dev.txt

    before = {entry.msgid: entry for entry in polib.pofile(str(path))} if path.exists() else {}
    catalogue = polib.POFile(wrapwidth=0)
    catalogue.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Content-Transfer-Encoding": "8bit"}
    for sentence, places in sorted(gathered(root).items(), key=lambda found: (min(found[1]), found[0])):
        known = before.get(sentence)
        catalogue.append(
            polib.POEntry(
                msgid=sentence,
                msgstr=known.msgstr if known else "",
                comment=known.comment if known else "",
                flags=known.flags if known else [],
                occurrences=[(place, "") for place in sorted(places)],
            )
        )
    catalogue.save(str(path))


def compile_for_server(path: Path) -> None:
    import polib  # of requirements-dev.txt

    polib.pofile(str(path)).save_as_mofile(str(path.with_suffix(".mo")))


def compile_for_scripts(path: Path, script: Path) -> None:
    script.parent.mkdir(exist_ok=True)
    script.write_text(script_of(path))


def script_of(path: Path) -> str:
    """The words of scripts as one: `window.words`, which `gettext` looks into (static/js/theme.js)."""
    import polib  # of requirements-dev.txt

    words = {entry.msgid: entry.msgstr for entry in polib.pofile(str(path)).translated_entries()}
    return f"window.words = {json.dumps(words, ensure_ascii=False, indent=0)};\n"


def progress(path: Path) -> str:
    import polib  # of requirements-dev.txt

    catalogue = polib.pofile(str(path))
    return f"{len(catalogue.translated_entries())} of {len(catalogue)} translated"
